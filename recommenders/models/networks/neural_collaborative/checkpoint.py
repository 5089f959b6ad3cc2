"""The state of an unfinished fit of NeuMF on disk, so that an interrupted fit continues. Imported only for fitting.

One npz file; its archive checks the CRC of each array; nothing in it is pickled. It holds the network, the moments of
its optimisers, the states of all random number generators, and the progress of the loop over the epochs.
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

FORMAT = 4  # raised if the stored content changes, or what an epoch does with it
FILE = "neural_collaborative.npz"
METADATA = "metadata"
PROGRESS_FIELDS = (
    "curve",
    "best",
    "best_epoch",
    "clear_best",
    "clear_best_epoch",
    "seconds",
)  # of Progress, besides the networks
log = logging.getLogger(__name__)


@dataclass
class Progress:
    """The results of the epochs so far. `newest`: the networks whose mean is validated; the last is the current one."""

    best_arrays: dict[str, NDArray[Any]]
    newest: deque[dict[str, NDArray[Any]]]
    curve: list[dict[str, float]] = field(default_factory=list)
    best: float = -np.inf
    best_epoch: int = 0
    clear_best: float = -np.inf  # value of the last epoch that was clearly better (min_gain), and its number
    clear_best_epoch: int = 0
    seconds: float = 0.0

    def ended(self, epochs: int, config: NeuralCollaborativeConfig) -> bool:
        """Whether all epochs are done, no epoch was clearly better for `patience` epochs, or the time is up."""
        epoch, gained_at = len(self.curve), max(self.clear_best_epoch, config.pretraining_epochs)
        return epoch >= epochs or epoch - gained_at >= config.patience or self.seconds > 60 * config.max_minutes


@dataclass(frozen=True)
class Checkpoint:
    """The file of one fit. The file of another fit has another key and is never loaded. Without a path: no file."""

    path: Path | None
    key: str

    @classmethod
    def for_fit(
        cls,
        folder: Path | None,
        events: Interactions,
        config: NeuralCollaborativeConfig,
        features: ItemFeatures | None,
    ) -> "Checkpoint":
        """The file in the folder for a fit of this log with this configuration, on this kind of device and torch."""
        if folder is None:
            return cls(None, "")
        arrays: list[NDArray[Any]] = [events.user_rows, events.item_columns, events.timestamps, events.weights]
        if features is not None and config.side_features:
            arrays += [features.vectors.data, features.vectors.indices, features.vectors.indptr]
        task = [events.shape, events.repeat, events.dated, events.horizon_days, [array.size for array in arrays]]
        inputs = [FORMAT, torch.__version__, torch.cuda.is_available(), task, config.model_dump(exclude={"enabled"})]
        digest = sha256(json.dumps(inputs).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return cls(folder / FILE, digest.hexdigest())

    def save(self, trainer: "Trainer", progress: Progress) -> None:
        """Replaces the file atomically. If it cannot be written, logs a warning: the fit does not need it."""
        if self.path is None:
            return
        fields = {name: getattr(progress, name) for name in PROGRESS_FIELDS}
        metadata = {"key": self.key, "rng": trainer.sampler.rng.bit_generator.state, "progress": fields}
        arrays: dict[str, Any] = {f"trainer/{name}": part.cpu().numpy() for name, part in _state(trainer).items()}
        for number, network in enumerate([progress.best_arrays, *progress.newest]):
            arrays |= {f"{number}/{name}": array for name, array in network.items()}
        try:
            with atomic_file(self.path) as staging, staging.open("wb") as file:
                np.savez(file, **{METADATA: np.array(json.dumps(metadata)), **arrays})
        except OSError as error:
            log.warning("%s cannot be written: %s; an interrupted fit will start anew", self.path, error)

    def load(self, trainer: "Trainer") -> Progress | None:
        """The progress of the interrupted fit; restores the trainer too. None if there is no file of this fit.

        If the file cannot be read, logs a warning and does not use it.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                metadata = json.loads(str(stored[METADATA]))
                if metadata["key"] != self.key:
                    return None
                networks: dict[str, dict[str, NDArray[Any]]] = {}
                for number, _, name in (entry.partition("/") for entry in stored.files if entry != METADATA):
                    networks.setdefault(number, {})[name] = stored[f"{number}/{name}"]
        except Exception as error:  # archive, header or array: a damaged file fails anywhere, in many ways
            log.warning("%s is damaged and not used: %s; training starts anew", self.path, error)
            return None
        _restore(trainer, networks.pop("trainer"))
        trainer.sampler.rng.bit_generator.state = metadata["rng"]
        best, *newest = (networks[str(number)] for number in range(len(networks)))
        return Progress(best, deque(newest, maxlen=trainer.config.averaged_epochs), **metadata["progress"])

    def remove(self) -> None:
        """Deletes the file and its staging files. If that fails, logs a warning."""
        if self.path is None:
            return
        try:
            for file in (self.path, *staging_of(self.path)):  # staging files remain if a process is killed in save()
                file.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed: %s; it may be deleted", self.path, error)


def _state(trainer: "Trainer") -> dict[str, torch.Tensor]:
    """All tensors that an epoch changes, not copied, by part and name; and the states of torch's random numbers."""
    parts: dict[str, dict[str, torch.Tensor]] = {"network": trainer.network.state_dict()}
    for name, table in (("user_embeddings", trainer.user_embeddings), ("item_embeddings", trainer.item_embeddings)):
        parts[name] = {"mean": table.mean, "square": table.square, "n_steps": table.n_steps}
    parts |= {f"layers{number}": found for number, found in trainer.layers.state_dict()["state"].items()}
    parts["random"] = {"cpu": torch.get_rng_state()}
    if trainer.device.type == "cuda":
        parts["random"]["cuda"] = torch.cuda.get_rng_state(trainer.device)
    return {f"{part}/{name}": tensor for part, found in parts.items() for name, tensor in found.items()}


def _restore(trainer: "Trainer", arrays: dict[str, NDArray[Any]]) -> None:
    """The inverse of _state(): sets the trainer to that state."""
    current = _state(trainer)
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for entry, array in arrays.items():
        part, _, name = entry.partition("/")
        if part.startswith("layers"):  # AdamW creates them at the first step of a parameter: there are none yet
            moments.setdefault(int(part.removeprefix("layers")), {})[name] = torch.from_numpy(array)
        elif part != "random":
            current[entry].copy_(torch.from_numpy(array))
    trainer.layers.load_state_dict({**trainer.layers.state_dict(), "state": moments})
    torch.set_rng_state(torch.from_numpy(arrays["random/cpu"]))
    if trainer.device.type == "cuda":
        torch.cuda.set_rng_state(torch.from_numpy(arrays["random/cuda"]), trainer.device)
