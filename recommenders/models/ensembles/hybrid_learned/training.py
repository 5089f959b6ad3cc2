"""Trains the rankers of hybrid_learned: base models fitted on earlier cuts of the log, labels from the window after."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.calibration import Calibration
from recommenders.models.ensembles.hybrid_learned.candidates import Candidates
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.examples import Examples, as_cold_start, batches, unknown_rows
from recommenders.models.ensembles.hybrid_learned.rankers import Rankers
from recommenders.models.ensembles.hybrid_learned.score_rules import ScoreRules
from recommenders.models.ensembles.hybrid_learned.tree_training import train_trees
from recommenders.models.ensembles.hybrid_learned.trees import BoostedTrees
from recommenders.models.ensembles.hybrid_learned.validation import validate
from recommenders.models.recommender import Recommender, TrainingOptions
from recommenders.splitting.windows import Window, first_events, newest_events, windows

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

N_RANDOM_ITEMS = 30  # of the whole catalogue per user, for logs without dates, where the next item is the target
NON_CANDIDATE_WEIGHT = 0.1  # weight of one of them; a candidate has 1
MIN_POSITIVES = 50  # minimum number of positive examples to train a ranker
FIRST_EVENTS = (None, 1, 3, 8)  # known events of a new user; later visits are the targets; None: the first visit


class Trained(NamedTuple):
    """What hybrid_learned learns on top of its base models."""

    candidates: Candidates
    rankers: Rankers
    score_rules: ScoreRules
    calibration: Calibration | None  # None: too few held-out users


class _Tried(NamedTuple):
    """What a training window holds: examples, positive ones, and users with events in it."""

    n_examples: int
    n_positives: int
    n_users: int

    @classmethod
    def of(cls, window: Window, part: Examples | None) -> "_Tried":
        labels = np.zeros(0, np.bool_) if part is None else part.labels
        return cls(len(labels), int(labels.sum()), len(window.user_rows) + len(window.new_users))


def fit_rankers(
    candidates: Candidates, log: Interactions, features: "ItemFeatures | None", options: TrainingOptions
) -> Trained:
    """Trains the rankers on windows of the log, and validates them: score rules and calibration.

    The candidates of the result have the base models that can be fitted before each window; others are skipped. Raises
    UnsuitableError if no window has both positive and negative examples.
    """
    parts: list[Examples] = []
    ends: list[int] = []  # end of the window of each part
    tried: list[_Tried] = []
    newest: tuple[Candidates, Window] | None = None
    for number, window in enumerate(_training_windows(log, candidates, parts)):
        rng = np.random.default_rng([candidates.config.seed, number])  # independent of other windows
        earlier = _fit_earlier(candidates, window.log, features, options)
        if len(earlier.base_models) < len(candidates.base_models):  # a base model was skipped: start again
            fitted = {name: model for name, model in candidates.base_models.items() if name in earlier.base_models}
            return fit_rankers(replace(candidates, base_models=fitted), log, features, options)
        part = _examples(earlier, window, rng)
        tried.append(_Tried.of(window, part))
        if part is not None and part.labels.any() and not part.labels.all():
            parts.append(part)
            ends.append(window.end)
            newest = newest or (earlier, window)
    if newest is None:
        raise _unsuitable(tried)
    before = [part for part, end in zip(parts, ends, strict=True) if end <= newest[1].cut]
    validated = _rankers_to_validate(newest[0].config, before, parts[0], options.threads)
    rules, calibration = validate(*newest, validated)
    examples = Examples.concatenate(parts)
    parts.clear()  # frees several hundred megabytes
    return Trained(candidates, _train_rankers(candidates.config, examples, options.threads), rules, calibration)


def _unsuitable(tried: list[_Tried]) -> UnsuitableError:
    """The error where no window has both positive and negative examples; it states the largest window."""
    n_examples, n_positives, n_users = max(tried)
    return UnsuitableError(
        "hybrid_learned learns which candidates users buy next; it needs a training window with 1 candidate that is "
        f"bought and 1 that is not; got {n_users:,} users who buy again, and {n_positives:,} of their {n_examples:,} "
        f"candidates are bought, in the largest of {len(tried)} windows; use a longer log, in which users buy items "
        "that were bought before, or set models.hybrid_learned.enabled: false"
    )


def _rankers_to_validate(
    config: HybridLearnedConfig, before: list[Examples], within: Examples, threads: int | None
) -> list[Rankers]:
    """Rankers that were not trained on the users of the newest window: one for all of them, or one for each half.

    before: examples of windows that ended before this one began. If they are too few, a ranker is trained on one half
    of the window's users, `within`, and is validated on the other half. [] if these are too few as well.
    """
    if sum(int(part.labels.sum()) for part in before) >= MIN_POSITIVES:
        return [_train_rankers(config, Examples.concatenate(before), threads)]
    if within.labels.sum() < 2 * MIN_POSITIVES:
        return []
    halves = [within.select(within.users % 2 != half) for half in (0, 1)]
    if not all(half.labels.any() and not half.labels.all() for half in halves):
        return []
    return [_train_rankers(config, half, threads) for half in halves]


def _train_rankers(config: HybridLearnedConfig, examples: Examples, threads: int | None) -> Rankers:
    # known users shown as cold-start users train both rankers: what a history is worth if its times are not known
    return Rankers(*(_train_trees(config, examples, group, threads) for group in (~examples.new, ~examples.known)))


def _training_windows(log: Interactions, candidates: Candidates, parts: list[Examples]) -> Iterator[Window]:
    """The windows; and each user's newest events if the windows hold too few positives (they may be minutes long)."""
    yield from windows(log, candidates.config.n_windows, candidates.horizon)
    if log.dated and sum(int(part.labels.sum()) for part in parts) < MIN_POSITIVES:
        yield newest_events(log)


def _train_trees(
    config: HybridLearnedConfig, examples: Examples, group: NDArray[np.bool_], threads: int | None
) -> BoostedTrees:
    """Trains trees on one group of examples, or on all if the group has too few positives."""
    labels = examples.labels[group]
    chosen = examples.select(group) if MIN_POSITIVES <= labels.sum() < len(labels) else examples
    return train_trees(config, chosen, threads)


def _examples(earlier: Candidates, window: Window, rng: np.random.Generator) -> Examples | None:
    """The examples of a sample of users of the window; None if the window has no users."""
    config = earlier.config
    if not len(window.user_rows) and not len(window.new_users):
        return None
    chosen = np.sort(rng.permutation(len(window.user_rows))[: config.max_users])
    shown_as_new = rng.random(len(chosen)) < config.cold_start_share
    known = window.log.histories()
    parts = []
    for batch in batches(chosen[~shown_as_new]):
        rows = window.user_rows[batch]
        parts.append(_label(earlier, rows, known[rows], window.targets[batch], rng, rows))
    for batch in batches(chosen[shown_as_new]):
        rows = window.user_rows[batch]
        items = as_cold_start(known[rows], earlier.as_of)
        parts.append(_label(earlier, unknown_rows(items), items, window.targets[batch], rng, rows))
    for n_events in FIRST_EVENTS:
        first, targets = first_events(window.new_users, n_events)
        returning = rng.permutation(np.flatnonzero(np.diff(targets.indptr) > 0))
        for batch in batches(np.sort(returning[: int(config.max_users * config.cold_start_share)])):
            items = as_cold_start(first[batch], earlier.as_of)
            parts.append(_label(earlier, unknown_rows(items), items, csr_array(targets[batch]), rng, batch, new=True))
    return Examples.concatenate(parts) if parts else None


def _fit_earlier(
    candidates: Candidates, log: Interactions, features: "ItemFeatures | None", options: TrainingOptions
) -> Candidates:
    """Fits the same base models on an earlier log and skips those that cannot be fitted on it.

    Item features are those of the end of that log. These fits report no epochs and keep no checkpoints.
    """
    options = replace(options, on_epoch=None, checkpoints=None)
    features = features.as_of(log.last_event, log.items) if features else None
    fitted: dict[str, Recommender] = {}
    for name, model in candidates.base_models.items():
        with contextlib.suppress(UnsuitableError):
            fitted[name] = model.refit(log, features, options)
    return Candidates.from_log(candidates.config, fitted, log, features)


def _label(
    earlier: Candidates,
    user_rows: NDArray[np.int32],
    histories: Histories,
    targets: csr_array,
    rng: np.random.Generator,
    numbers: NDArray[np.int32] | NDArray[np.int64],
    new: bool = False,
) -> Examples:
    """The examples of all candidates. Without dates also of the other targets and of a few random other items.

    An item that is no candidate has NON_CANDIDATE_WEIGHT; the random items represent the whole catalogue. numbers: (n,)
    of the users, for Examples.users.
    """
    n, n_items = histories.shape
    base_scores, columns = earlier.propose(user_rows, histories, 1, earlier.available, None if earlier.repeat else True)
    candidates = (np.arange(n)[:, None] * n_items + columns)[columns >= 0]
    target_keys = np.repeat(np.arange(n), np.diff(targets.indptr)) * n_items + targets.indices
    drawn = (np.arange(n)[:, None] * n_items + rng.integers(n_items, size=(n, N_RANDOM_ITEMS))).ravel()
    keys = np.unique(candidates if earlier.dated else np.concatenate([candidates, target_keys, drawn]))
    if not earlier.repeat:
        keys = keys[~np.isin(keys, histories.rows * n_items + histories.item_columns)]
    keys = keys[earlier.available[keys % n_items]]
    rows, items = keys // n_items, (keys % n_items).astype(np.int32)
    labels, is_candidate = np.isin(keys, target_keys), np.isin(keys, candidates)
    n_random = np.bincount(rows, ~labels & ~is_candidate, minlength=n)
    n_represented = np.where(labels, 1.0, n_items / np.maximum(n_random, 1)[rows])
    weights = np.where(is_candidate, 1.0, NON_CANDIDATE_WEIGHT * n_represented)
    counts = np.bincount(rows, minlength=n)
    padded = np.full((n, int(counts.max(initial=0))), -1, dtype=np.int32)
    padded[np.arange(padded.shape[1]) < counts[:, None]] = items
    found = earlier.features(user_rows, histories, padded, base_scores)
    is_new = np.full(len(labels), new)
    return Examples(found, labels, weights, user_rows[rows] >= 0, is_new, numbers[rows].astype(np.int64))
