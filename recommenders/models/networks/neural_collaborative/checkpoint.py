"""How far a fit of NeuMF has come, on disk, so that one that was cut goes on. Imported while fitting, never to answer.

One npz file, whose archive checks each array's CRC; nothing in it is pickled. It holds the network, the moments of its
optimisers, the states of all random numbers, and what the loop over the epochs remembers.
"""

import json
import logging
from collections import deque
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.storage.files import atomic_file, staging_of

if TYPE_CHECKING:
    from recommenders.models.networks.neural_collaborative.trainer import Trainer

FORMAT = 3  # rises when what is stored changes, or what an epoch does with it
FILE = "neural_collaborative.npz"
FACTS = "facts"
TOLD = ("curve", "best", "best_epoch", "gained", "gained_at", "seconds")  # of Progress, beside the networks
log = logging.getLogger(__name__)


@dataclass
class Progress:
    """What the epochs so far have found; `newest` are the networks whose mean is validated, the last one is now."""

    best_arrays: dict[str, NDArray[Any]]
    newest: deque[dict[str, NDArray[Any]]]
    curve: list[dict[str, float]] = field(default_factory=list)
    best: float = -np.inf
    best_epoch: int = 0
    gained: float = -np.inf  # what was reached when it last was clearly better than before, and in which epoch
    gained_at: int = 0
    seconds: float = 0.0

    def ended(self, epochs: int, config: NeuralCollaborativeConfig) -> bool:
        """Whether all epochs are over, nothing gets clearly better, or time is up."""
        epoch, gained_at = len(self.curve), max(self.gained_at, config.pretraining_epochs)
        return epoch >= epochs or epoch - gained_at >= config.patience or self.seconds > 60 * config.max_minutes


@dataclass(frozen=True)
class Checkpoint:
    """The file of one fit; another one's is never taken, for it has another key. Without a path it does nothing."""

    path: Path | None
    key: str

    @classmethod
    def of(
        cls,
        folder: Path | None,
        events: Interactions,
        config: NeuralCollaborativeConfig,
        features: ItemFeatures | None,
    ) -> "Checkpoint":
        """The file in the folder for a fit of this log by this recipe, on a device and a torch like these."""
        if folder is None:
            return cls(None, "")
        arrays: list[NDArray[Any]] = [events.user_rows, events.item_columns, events.timestamps, events.weights]
        if features is not None and config.side_features:
            arrays += [features.vectors.data, features.vectors.indices, features.vectors.indptr]
        question = [events.shape, events.repeat, events.dated, events.horizon_days, [array.size for array in arrays]]
        facts = [FORMAT, torch.__version__, torch.cuda.is_available(), question, config.model_dump(exclude={"enabled"})]
        digest = sha256(json.dumps(facts).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return cls(folder / FILE, digest.hexdigest())

    def save(self, trainer: "Trainer", progress: Progress) -> None:
        """Replaces the file as one step. Where the disk refuses, it warns: the fit can do without."""
        if self.path is None:
            return
        told = {name: getattr(progress, name) for name in TOLD}
        facts = {"key": self.key, "rng": trainer.sampler.rng.bit_generator.state, "told": told}
        arrays: dict[str, Any] = {f"trainer/{name}": part.cpu().numpy() for name, part in _state(trainer).items()}
        for place, network in enumerate([progress.best_arrays, *progress.newest]):
            arrays |= {f"{place}/{name}": array for name, array in network.items()}
        try:
            with atomic_file(self.path) as staging:
                np.savez(staging, **{FACTS: np.array(json.dumps(facts)), **arrays})
        except OSError as error:
            log.warning("%s cannot be written: %s; a fit that is cut will start anew", self.path, error)

    def load(self, trainer: "Trainer") -> Progress | None:
        """What the fit had found before it was cut, and the trainer as it was then; None if there is none of its own.

        A file that cannot be read is told in the log and not taken.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                facts = json.loads(str(stored[FACTS]))
                if facts["key"] != self.key:
                    return None
                networks: dict[str, dict[str, NDArray[Any]]] = {}
                for place, _, name in (entry.partition("/") for entry in stored.files if entry != FACTS):
                    networks.setdefault(place, {})[name] = stored[f"{place}/{name}"]
        except Exception as error:  # archive, header or array: a damaged file fails anywhere, in many ways
            log.warning("%s is damaged and not used: %s; training starts anew", self.path, error)
            return None
        _restore(trainer, networks.pop("trainer"))
        trainer.sampler.rng.bit_generator.state = facts["rng"]
        best, *newest = (networks[str(place)] for place in range(len(networks)))
        return Progress(best, deque(newest, maxlen=trainer.config.averaged_epochs), **facts["told"])

    def remove(self) -> None:
        """Leaves nothing behind, unless the disk refuses; then it warns."""
        if self.path is None:
            return
        try:
            for left in (self.path, *staging_of(self.path)):  # the latter where a process was killed while it wrote
                left.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed: %s; it may be deleted", self.path, error)


def _state(trainer: "Trainer") -> dict[str, torch.Tensor]:
    """All tensors that an epoch changes, as they are, by part and name; and the states of torch's random numbers."""
    parts: dict[str, dict[str, torch.Tensor]] = {"network": trainer.network.state_dict()}
    for name, table in (("own", trainer.own), ("items", trainer.items)):
        parts[name] = {"mean": table.mean, "square": table.square, "n_steps": table.n_steps}
    parts |= {f"layers{number}": found for number, found in trainer.layers.state_dict()["state"].items()}
    parts["random"] = {"cpu": torch.get_rng_state()}
    if trainer.device.type == "cuda":
        parts["random"]["cuda"] = torch.cuda.get_rng_state(trainer.device)
    return {f"{part}/{name}": tensor for part, found in parts.items() for name, tensor in found.items()}


def _restore(trainer: "Trainer", arrays: dict[str, NDArray[Any]]) -> None:
    """Makes the trainer what _state() saw."""
    now = _state(trainer)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for entry, array in arrays.items():
        part, _, name = entry.partition("/")
        if part.startswith("layers"):  # AdamW makes them at a parameter's first step: there are none yet
            moments.setdefault(int(part.removeprefix("layers")), {})[name] = torch.from_numpy(array)
        elif part != "random":
            now[entry].copy_(torch.from_numpy(array))
    trainer.layers.load_state_dict({**trainer.layers.state_dict(), "state": moments})
    torch.set_rng_state(torch.from_numpy(arrays["random/cpu"]))
    if trainer.device.type == "cuda":
        torch.cuda.set_rng_state(torch.from_numpy(arrays["random/cuda"]), trainer.device)
