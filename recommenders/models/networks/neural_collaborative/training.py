"""Training of NeuMF: batches, losses, validation, early stopping. Imported only for fitting."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.metrics.ranking import ndcg
from recommenders.models.networks.averaging import mean_weights
from recommenders.models.networks.log_checks import latest_visit_mask, one_event_per_user, users_on_both_sides
from recommenders.models.networks.neural_collaborative.checkpoint import Checkpoint, Progress
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.inference import Network, forward
from recommenders.models.networks.neural_collaborative.trainer import Trainer
from recommenders.models.recommender import Tracker, mask_and_rank

VALIDATION_K = 50  # longer than a list that users see: the metric is less noisy
VALIDATION_ITEMS = (
    5000  # of a larger catalogue, only this many items, drawn at random, and the relevant ones are ranked
)


@dataclass(frozen=True)
class TrainingResult:
    """Arrays of the best epoch (the mean with the epochs before it), and the learning curve of all epochs."""

    arrays: dict[str, NDArray[Any]]
    curve: list[dict[str, float]]


@dataclass(frozen=True)
class Validation:
    """The latest visits of the held-out users."""

    user_rows: NDArray[np.int32]
    histories: Histories  # (n, n_items) the events before these visits
    item_columns: NDArray[np.int64]  # (n_candidates,) ascending
    relevant: csr_array  # (n, n_candidates)
    known: csr_array | None  # (n, n_candidates) masked items, in a log without repeat purchases


def train(
    log: Interactions,
    config: NeuralCollaborativeConfig,
    tracker: Tracker | None,
    features: ItemFeatures | None = None,
) -> TrainingResult:
    """Trains until the validation no longer improves, or for config.fixed_epochs on all data. Seeded.

    With a folder for checkpoints, an interrupted fit of the same log and configuration continues after its last epoch.
    """
    rng = np.random.default_rng(config.seed)
    checkpoint = Checkpoint.for_fit(None if tracker is None else tracker.checkpoints, log, config, features)
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            torch.manual_seed(config.seed)
            torch.set_num_threads(config.threads)
            if config.fixed_epochs is not None:
                return _run_epochs(Trainer(log, config, rng, features), None, config.fixed_epochs, tracker, checkpoint)
            kept, validation = hold_out_latest(log, config, rng)
            if validation is None:
                raise UnsuitableError(
                    "neural_collaborative has nothing to learn from: got 0 users with two events; allowed: from 1; "
                    "bring a longer log or set models.neural_collaborative.enabled: false"
                )
            return _run_epochs(Trainer(kept, config, rng, features), validation, config.epochs, tracker, checkpoint)
        finally:
            torch.set_num_threads(threads)


def hold_out_latest(
    log: Interactions, config: NeuralCollaborativeConfig, rng: np.random.Generator
) -> tuple[Interactions, Validation | None]:
    """The log without the latest visit of some users, and these visits; None if no user has two events.

    If no user has two visits, one event of each user, drawn at random, replaces the latest visit: without a validation,
    training would always run until the last epoch.
    """
    is_latest = latest_visit_mask(log)
    eligible = users_on_both_sides(log, is_latest)
    if not len(eligible):
        is_latest = one_event_per_user(log, rng)
        eligible = users_on_both_sides(log, is_latest)
    n_held_out = min(config.validation_users, int(np.ceil(config.validation_split * len(eligible))))
    if n_held_out == 0:
        return log, None
    rows = np.sort(rng.choice(eligible, n_held_out, replace=False)).astype(np.int32)
    held_out = is_latest & np.isin(log.user_rows, rows)
    kept = log.select(~held_out)
    relevant = log.select(held_out).matrix("binary")[rows]
    # an item with events counts as on sale: an item withdrawn since can still be right for an earlier order
    bought = np.unique(log.item_columns)
    if len(bought) > VALIDATION_ITEMS:
        bought = np.union1d(rng.choice(bought, VALIDATION_ITEMS, replace=False), relevant.indices)
    known = None if log.repeat else kept.matrix("binary")[rows][:, bought]
    return kept, Validation(rows, kept.histories()[rows], bought.astype(np.int64), relevant[:, bought], known)


def _run_epochs(
    trainer: Trainer, validation: Validation | None, epochs: int, tracker: Tracker | None, checkpoint: Checkpoint
) -> TrainingResult:
    config = trainer.config
    initial = Progress(trainer.network.arrays(), deque(maxlen=config.averaged_epochs))
    progress = checkpoint.load(trainer) or initial
    for point in progress.curve:  # a continued fit reports to a new run, which shows the whole curve
        _report(tracker, point)
    started = time.monotonic() - progress.seconds
    while not progress.ended(epochs, config):
        _run_epoch(trainer, validation, progress)
        progress.seconds = time.monotonic() - started
        checkpoint.save(trainer, progress)
        _report(tracker, progress.curve[-1])
    checkpoint.remove()
    extra = {
        "user_embedding_rows": trainer.user_embedding_rows.cpu().numpy().astype(np.int32),
        "epochs": np.array([progress.best_epoch]),
    }
    return TrainingResult({**progress.best_arrays, **extra}, progress.curve)


def _run_epoch(trainer: Trainer, validation: Validation | None, progress: Progress) -> None:
    config, epoch = trainer.config, len(progress.curve) + 1
    point = {"epoch": float(epoch), "loss": trainer.epoch(factors_only=epoch <= config.pretraining_epochs)}
    if not np.isfinite(point["loss"]):
        got = f"loss {point['loss']} in epoch {epoch} with learning_rate {config.learning_rate}"
        raise UnsuitableError(f"neural_collaborative diverged: {got}; set a lower learning_rate")
    value = float(epoch)  # without a validation, the last epoch is the best
    progress.newest.append(trainer.network.arrays())
    arrays = mean_weights(progress.newest)
    if validation is not None:
        point[f"validation_ndcg@{VALIDATION_K}"] = value = _validate(trainer, arrays, validation, config)
    progress.curve.append(point)
    if value > progress.best:
        progress.best, progress.best_epoch, progress.best_arrays = value, epoch, arrays
    if validation is None or value > progress.clear_best * (1 + config.min_gain):
        progress.clear_best, progress.clear_best_epoch = value, epoch


def _report(tracker: Tracker | None, point: dict[str, float]) -> None:
    if tracker is not None:
        tracker.log(int(point["epoch"]), {name: value for name, value in point.items() if name != "epoch"})


def _validate(
    trainer: Trainer, arrays: dict[str, NDArray[Any]], validation: Validation, config: NeuralCollaborativeConfig
) -> float:
    """Mean NDCG of the held-out visits, ranked by the code that serves requests."""
    network = Network.from_arrays(arrays, config)
    rows = trainer.user_embedding_rows.cpu().numpy()[validation.user_rows]
    users = network.encode_users(rows, validation.histories)
    scores = forward(users, network.items[validation.item_columns], network.layers)
    everything = np.ones(scores.shape[1], dtype=np.bool_)
    ranked = mask_and_rank(scores, VALIDATION_K, everything, validation.known).item_columns
    return float(np.nanmean(ndcg(ranked, validation.relevant)))
