"""The training loop of all networks: epochs, validation, early stopping, checkpoints. Imported only for fitting.

If torch.distributed is initialised, each process trains on its part of the batches, and DistributedDataParallel
averages the gradients. The first process validates, reports and writes checkpoints; if it fails there, all end.
"""

import contextlib
import time
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recommenders.errors import UnsuitableError
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.networks.checkpoint import Checkpoint, Progress
from recommenders.models.networks.distributed import (
    averaging_gradients,
    in_first_process,
    of_first_process,
    part_of_process,
    rank,
)
from recommenders.models.networks.trainer import Config, Trainer
from recommenders.models.networks.validation import Validation
from recommenders.models.recommender import TrainingOptions

THREADS = 1  # small steps gain little from more threads, and lose on a busy machine


@dataclass(frozen=True)
class TrainingResult:
    """Arrays of the best epoch (the mean with the epochs before it), its number, and the curve of all epochs."""

    arrays: dict[str, NDArray[Any]]
    epochs: int
    curve: list[dict[str, float]]


def train(
    trainer: type[Trainer[Config]],
    log: Interactions,
    config: Config,
    options: TrainingOptions,
    features: ItemFeatures | None = None,
) -> TrainingResult:
    """Trains until the validation no longer improves, or for config.fixed_epochs on all data. Seeded.

    features: of the items, if the network learns from them. Raises UnsuitableError if the log is too short.
    """
    checkpoint = Checkpoint.for_fit(options.checkpoints, trainer.name, log, config, features)
    rng = np.random.default_rng(config.seed)
    with _seeded(config.seed + rank(), options.threads or THREADS):
        kept, validation = (log, None) if config.fixed_epochs else trainer.hold_out(log, config, rng)
        return run_epochs(trainer(kept, config, rng, features), validation, options, checkpoint)


@contextlib.contextmanager
def _seeded(seed: int, threads: int) -> Iterator[None]:
    """Torch draws from the seed and uses so many threads. Afterwards, its state is as before."""
    threads_before = torch.get_num_threads()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            torch.manual_seed(seed)
            torch.set_num_threads(threads)
            yield
        finally:
            torch.set_num_threads(threads_before)


def run_epochs(
    trainer: Trainer[Any], validation: Validation | None, options: TrainingOptions, checkpoint: Checkpoint
) -> TrainingResult:
    """Runs epochs until training ends, from the checkpoint if there is one."""
    config = trainer.config
    initial = Progress(trainer.arrays(), deque(maxlen=config.averaged_epochs))
    progress = checkpoint.load(trainer) or initial
    module = averaging_gradients(trainer.module, uses_all=trainer.untrained_epochs == 0)
    in_first_process(lambda: [_report(options, point) for point in progress.curve])  # of a continued fit
    started = time.monotonic() - progress.seconds
    while not progress.ended(config, options.max_minutes, trainer.untrained_epochs):
        _run_epoch(trainer, module, validation, progress)
        progress.seconds = of_first_process(time.monotonic() - started)
        progress.stopped = in_first_process(lambda: _save_and_report(trainer, progress, options, checkpoint))
    if rank() == 0:
        checkpoint.remove()
    return TrainingResult(progress.best_arrays, progress.best_epoch, progress.curve)


def _run_epoch(trainer: Trainer[Any], module: nn.Module, validation: Validation | None, progress: Progress) -> None:
    """One epoch and its validation. Raises UnsuitableError if the loss is not finite."""
    epoch = len(progress.curve) + 1
    point = {"epoch": float(epoch), "loss": of_first_process(_run_steps(trainer, module, epoch, progress))}
    if not np.isfinite(point["loss"]):
        got = f"loss {point['loss']} in epoch {epoch} with learning_rate {trainer.config.learning_rate}"
        raise UnsuitableError(f"{trainer.name} diverged: {got}; set a lower learning_rate")
    progress.newest.append(trainer.arrays())
    arrays = mean_weights(progress.newest)
    value = float(epoch)  # without a validation, the last epoch is the best
    if validation is not None:
        k = trainer.validation_k
        point[f"validation_ndcg@{k}"] = value = in_first_process(lambda: validation.ndcg(trainer.scorer(arrays), k))
    progress.add(point, value, arrays, trainer.config.min_gain)


def _run_steps(trainer: Trainer[Any], module: nn.Module, epoch: int, progress: Progress) -> float:
    """The steps of an epoch; returns the mean loss of a target."""
    module.train()
    losses, n_targets = [], 0.0
    for inputs in part_of_process(trainer.batches(epoch)):
        progress.steps += 1
        loss, n = module(*inputs)
        for optimizer in trainer.optimizers:
            optimizer.zero_grad(set_to_none=True)
        (loss / n).backward()
        for optimizer in trainer.optimizers:
            _set_learning_rate(optimizer, min(1.0, progress.steps / trainer.config.warmup_steps))
            optimizer.step()
        losses.append(loss.detach())
        n_targets += n
    return float(torch.stack(losses).sum()) / n_targets if losses else np.nan


def _set_learning_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = share * group.setdefault("full_lr", group["lr"])


def _save_and_report(
    trainer: Trainer[Any], progress: Progress, options: TrainingOptions, checkpoint: Checkpoint
) -> bool:
    """Saves and reports the newest epoch. Returns whether training is to stop."""
    checkpoint.save(trainer, progress)
    return _report(options, progress.curve[-1])


def _report(options: TrainingOptions, point: dict[str, float]) -> bool:
    return options.report(int(point["epoch"]), {name: value for name, value in point.items() if name != "epoch"})


def mean_weights(networks: Collection[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The mean of each named array, in its own dtype. All networks have the same names and shapes.

    The mean of the newest epochs ranks better than any single epoch, and its validation curve is smoother (Izmailov et
    al. 2018).
    """
    first = next(iter(networks))
    return {name: np.mean([each[name] for each in networks], axis=0).astype(first[name].dtype) for name in first}
