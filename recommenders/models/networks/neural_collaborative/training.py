"""How NeuMF learns: batches, losses, validation, when to stop. Imported while fitting, never to answer."""

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
from recommenders.models.networks.log_checks import latest_moments, one_of_each, users_of_both
from recommenders.models.networks.neural_collaborative.checkpoint import Checkpoint, Progress
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.inference import Network, forward
from recommenders.models.networks.neural_collaborative.trainer import Trainer
from recommenders.models.recommender import Tracker, mask_and_rank

VALIDATION_K = 50  # longer lists than anybody sees: the figure moves with more than luck
VALIDATION_ITEMS = 5000  # a larger catalogue is stood in for by so many of its items, beside the ones to be found


@dataclass(frozen=True)
class Learned:
    """Arrays of the best epoch, averaged with those before it, and the learning curve up to the last one."""

    arrays: dict[str, NDArray[Any]]
    curve: list[dict[str, float]]


@dataclass(frozen=True)
class Validation:
    """The latest purchases of some buyers, kept from training."""

    user_rows: NDArray[np.int32]
    histories: Histories  # (n, n_items) what came before them
    item_columns: NDArray[np.int64]  # (n_candidates,) ascending
    relevant: csr_array  # (n, n_candidates)
    known: csr_array | None  # (n, n_candidates) masked items, where buyers do not come back


def train(
    log: Interactions,
    config: NeuralCollaborativeConfig,
    tracker: Tracker | None,
    features: ItemFeatures | None = None,
) -> Learned:
    """Learns until the validation no longer improves, or for config.fixed_epochs on everything. Seeded.

    With a folder for checkpoints, a fit of the same log and recipe that was cut goes on behind its last epoch.
    """
    rng = np.random.default_rng(config.seed)
    checkpoint = Checkpoint.of(None if tracker is None else tracker.checkpoints, log, config, features)
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            torch.manual_seed(config.seed)
            torch.set_num_threads(config.threads)
            if config.fixed_epochs is not None:
                return _run(Trainer(log, config, rng, features), None, config.fixed_epochs, tracker, checkpoint)
            kept, validation = hold_out_latest(log, config, rng)
            if validation is None:
                raise UnsuitableError(
                    "neural_collaborative has nothing to learn from: got 0 users with two events; allowed: from 1; "
                    "bring a longer log or set models.neural_collaborative.enabled: false"
                )
            return _run(Trainer(kept, config, rng, features), validation, config.epochs, tracker, checkpoint)
        finally:
            torch.set_num_threads(threads)


def hold_out_latest(
    log: Interactions, config: NeuralCollaborativeConfig, rng: np.random.Generator
) -> tuple[Interactions, Validation | None]:
    """The log without the latest order of some users, and these orders; None if no user has two events.

    Where no user has two orders, one event of each, drawn at random, stands for the latest order: without validation
    nothing would end the training before the last epoch.
    """
    is_latest = latest_moments(log)
    eligible = users_of_both(log, is_latest)
    if not len(eligible):
        is_latest = one_of_each(log, rng)
        eligible = users_of_both(log, is_latest)
    n_held = min(config.validation_users, int(np.ceil(config.validation_split * len(eligible))))
    if n_held == 0:
        return log, None
    rows = np.sort(rng.choice(eligible, n_held, replace=False)).astype(np.int32)
    held = is_latest & np.isin(log.user_rows, rows)
    kept = log.select(~held)
    relevant = log.select(held).matrix("binary")[rows]
    # bought means on sale: an item that left the shelves since may be right for an order of back then
    bought = np.unique(log.item_columns)
    if len(bought) > VALIDATION_ITEMS:
        bought = np.union1d(rng.choice(bought, VALIDATION_ITEMS, replace=False), relevant.indices)
    known = None if log.repeat else kept.matrix("binary")[rows][:, bought]
    return kept, Validation(rows, kept.histories()[rows], bought.astype(np.int64), relevant[:, bought], known)


def _run(
    trainer: Trainer, validation: Validation | None, epochs: int, tracker: Tracker | None, checkpoint: Checkpoint
) -> Learned:
    config = trainer.config
    first = Progress(trainer.network.arrays(), deque(maxlen=config.averaged_epochs))
    so_far = checkpoint.load(trainer) or first
    for point in so_far.curve:  # who tries again reports to another run, which is to show the whole curve
        _tell(tracker, point)
    started = time.monotonic() - so_far.seconds
    while not so_far.ended(epochs, config):
        _next_epoch(trainer, validation, so_far)
        so_far.seconds = time.monotonic() - started
        checkpoint.save(trainer, so_far)
        _tell(tracker, so_far.curve[-1])
    checkpoint.remove()
    told = {"own_rows": trainer.own_rows.cpu().numpy().astype(np.int32), "epochs": np.array([so_far.best_epoch])}
    return Learned({**so_far.best_arrays, **told}, so_far.curve)


def _next_epoch(trainer: Trainer, validation: Validation | None, so_far: Progress) -> None:
    config, epoch = trainer.config, len(so_far.curve) + 1
    point = {"epoch": float(epoch), "loss": trainer.epoch(factors_only=epoch <= config.pretraining_epochs)}
    if not np.isfinite(point["loss"]):
        got = f"loss {point['loss']} in epoch {epoch} with learning_rate {config.learning_rate}"
        raise UnsuitableError(f"neural_collaborative diverged: {got}; set a lower learning_rate")
    reached = float(epoch)  # without a validation the last epoch is the best
    so_far.newest.append(trainer.network.arrays())
    arrays = mean_weights(so_far.newest)
    if validation is not None:
        point[f"validation_ndcg@{VALIDATION_K}"] = reached = _validate(trainer, arrays, validation, config)
    so_far.curve.append(point)
    if reached > so_far.best:
        so_far.best, so_far.best_epoch, so_far.best_arrays = reached, epoch, arrays
    if validation is None or reached > so_far.gained * (1 + config.min_gain):
        so_far.gained, so_far.gained_at = reached, epoch


def _tell(tracker: Tracker | None, point: dict[str, float]) -> None:
    if tracker is not None:
        tracker.log(int(point["epoch"]), {name: value for name, value in point.items() if name != "epoch"})


def _validate(
    trainer: Trainer, arrays: dict[str, NDArray[Any]], validation: Validation, config: NeuralCollaborativeConfig
) -> float:
    """Mean NDCG of the kept purchases, ranked by the code that answers requests."""
    network = Network.of(arrays, config)
    own = trainer.own_rows.cpu().numpy()[validation.user_rows]
    users = network.users(own, validation.histories)
    scores = forward(users, network.items[validation.item_columns], network.layers)
    everything = np.ones(scores.shape[1], dtype=np.bool_)
    ranked = mask_and_rank(scores, VALIDATION_K, everything, validation.known).item_columns
    return float(np.nanmean(ndcg(ranked, validation.relevant)))
