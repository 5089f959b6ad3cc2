"""The state of an unfinished fit of a network on disk, so that an interrupted fit continues. Imported only for fitting.

One npz file; its archive checks the CRC of each array; nothing in it is pickled. It holds the network, the moments of
its optimisers, the states of all random number generators, and the progress of the loop over the epochs.
"""

import json
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.networks.config import NetworkConfig
from recommenders.models.networks.distributed import n_processes
from recommenders.models.networks.trainer import Trainer
from recommenders.storage.atomic_files import atomic_file, staging_of

FORMAT = 5  # raised if the stored content changes, or what an epoch does with it
METADATA = "metadata"
NETWORKS = ("best_arrays", "newest")  # fields of Progress that hold weights
log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]


@dataclass
class Progress:
    """The results of the epochs so far. `newest`: the networks whose mean is validated; the last is the current one."""

    best_arrays: dict[str, NDArray[Any]]
    newest: deque[dict[str, NDArray[Any]]]
    curve: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    best: float = -np.inf
    best_epoch: int = 0
    clear_best: float = -np.inf  # value of the last epoch that was clearly better (min_gain), and its number
    clear_best_epoch: int = 0
    seconds: float = 0.0
    stopped: bool = False  # by a callback

    def add(self, point: dict[str, float], value: float, arrays: dict[str, NDArray[Any]], min_gain: float) -> None:
        """Adds an epoch: its point of the curve, what it is compared by, and the mean of the newest networks."""
        self.curve.append(point)
        epoch = len(self.curve)
        if value > self.best:
            self.best, self.best_epoch, self.best_arrays = value, epoch, arrays
        if value > self.clear_best * (1 + min_gain):
            self.clear_best, self.clear_best_epoch = value, epoch

    def ended(self, config: NetworkConfig, max_minutes: float, counted_from: int = 0) -> bool:
        """Whether all epochs are done, no epoch was clearly better for `patience` epochs, or the time is up.

        counted_from: the epoch from which patience counts.
        """
        epoch, gained_at = len(self.curve), max(self.clear_best_epoch, counted_from)
        all_done = epoch >= (config.fixed_epochs or config.epochs)
        too_late = self.seconds > 60 * max_minutes
        return self.stopped or all_done or epoch - gained_at >= config.patience or too_late


@dataclass(frozen=True)
class Checkpoint:
    """The file of one fit. The file of another fit has another key and is never loaded. Without a path: no file."""

    path: Path | None
    key: str

    @classmethod
    def for_fit(
        cls,
        folder: Path | None,
        name: str,
        log: Interactions,
        config: NetworkConfig,
        features: ItemFeatures | None = None,
    ) -> "Checkpoint":
        """The file of a model in the folder, for a fit of this log with this configuration, device and torch.

        features: of the items, if the fit depends on them.
        """
        if folder is None:
            return cls(None, "")
        arrays: list[NDArray[Any]] = [log.user_rows, log.item_columns, log.timestamps, log.weights]
        if features is not None:
            arrays += [features.vectors.data, features.vectors.indices, features.vectors.indptr]
        task = [log.shape, log.repeat, log.dated, log.horizon_days, [array.size for array in arrays], n_processes()]
        inputs = [FORMAT, torch.__version__, torch.cuda.is_available(), task, config.model_dump(exclude={"enabled"})]
        digest = sha256(json.dumps(inputs).encode())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        return cls(folder / f"{name}.npz", digest.hexdigest())

    def save(self, trainer: Trainer[Any], progress: Progress) -> None:
        """Replaces the file atomically. If it cannot be written, logs a warning: the fit does not need it."""
        if self.path is None:
            return
        fields = {name: value for name, value in vars(progress).items() if name not in NETWORKS}
        metadata = {"key": self.key, "rng": trainer.rng.bit_generator.state, "progress": fields}
        arrays: dict[str, Any] = {f"trainer/{name}": part.cpu().numpy() for name, part in _state(trainer).items()}
        for number, network in enumerate([progress.best_arrays, *progress.newest]):
            arrays |= {f"{number}/{name}": array for name, array in network.items()}
        try:
            with atomic_file(self.path) as staging, staging.open("wb") as file:
                np.savez(file, **{METADATA: np.array(json.dumps(metadata)), **arrays})
        except OSError as error:
            log.warning("%s cannot be written: %s; an interrupted fit will start anew", self.path, error)

    def load(self, trainer: Trainer[Any]) -> Progress | None:
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
        trainer.rng.bit_generator.state = metadata["rng"]
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


def _state(trainer: Trainer[Any]) -> dict[str, torch.Tensor]:
    """All tensors that an epoch changes, not copied, by part and name; and the states of torch's random numbers."""
    found = {f"module/{name}": tensor for name, tensor in trainer.module.state_dict().items()}
    for number, optimizer in enumerate(trainer.optimizers):
        for row, moments in optimizer.state_dict()["state"].items():
            found |= {f"optimizer {number} {row}/{name}": tensor for name, tensor in moments.items()}
    found["random/cpu"] = torch.get_rng_state()
    if trainer.device.type == "cuda":
        found["random/cuda"] = torch.cuda.get_rng_state(trainer.device)
    return found


def _restore(trainer: Trainer[Any], arrays: Arrays) -> None:
    """The inverse of _state(): sets the trainer to that state."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for entry, array in arrays.items():
        part, _, name = entry.partition("/")
        parts.setdefault(part, {})[name] = torch.from_numpy(array)
    trainer.module.load_state_dict(parts["module"])
    for number, optimizer in enumerate(trainer.optimizers):  # moments exist from the first step of a parameter on
        prefix = f"optimizer {number} "
        moments = {int(part.removeprefix(prefix)): found for part, found in parts.items() if part.startswith(prefix)}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    torch.set_rng_state(parts["random"]["cpu"])
    if trainer.device.type == "cuda":
        torch.cuda.set_rng_state(parts["random"]["cuda"], trainer.device)
