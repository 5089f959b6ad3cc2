"""How the ranker of hybrid_learned grows: members fitted on earlier cuts of the log are watched for what came next."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.ensemble import HistGradientBoostingClassifier

from recommenders.datasets.histories import Histories
from recommenders.datasets.interactions import Interactions
from recommenders.errors import UnsuitableError
from recommenders.models.bins import Bins
from recommenders.models.boosted_trees import BoostedTrees, of_estimator
from recommenders.models.hybrid_learned import HybridLearned
from recommenders.models.rankers import Rankers

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

NEGATIVES = 40  # candidates of each buyer that were not wanted; or three to each wanted one, if that is more
OTHERS = 30  # items of each buyer from the whole catalogue where what comes next is asked: one answer among them all
FAR_WEIGHT = 0.1  # how much one of them counts beside a candidate
NEWEST = 3  # events of each user to learn from where there is no window
ENOUGH = 50  # wanted pairs that a ranker can learn something from
FIRST_EVENTS = (None, 1, 3, 8)  # what is known of a new buyer before later visits are asked for; None: the first visit
BATCH = 256  # buyers whose candidates are gathered at once


@dataclass(frozen=True, eq=False)
class Window:
    """What was known at an earlier moment, and what was wanted next."""

    log: Interactions
    user_rows: NDArray[np.int32]  # (n,) who wanted something
    wanted: csr_array  # (n, n_items)
    newcomers: Histories  # (m, n_items) what those did next who had never come before; of more than one visit


class Examples(NamedTuple):
    """Pairs of a buyer and an item: features (n, n_features); wanted or not (n,); how many each stands for (n,)."""

    features: NDArray[np.float32]
    labels: NDArray[np.bool_]
    weights: NDArray[np.float64]
    known: NDArray[np.bool_]  # (n,) whether the buyer was looked at as one of the log
    new: NDArray[np.bool_]  # (n,) whether the buyer really was none

    def of(self, some: NDArray[np.bool_]) -> "Examples":
        """Some of them, by a mask (n,)."""
        return Examples(self.features[some], self.labels[some], self.weights[some], self.known[some], self.new[some])

    @classmethod
    def joined(cls, parts: "list[Examples]") -> "Examples":
        return cls(*(np.concatenate(some) for some in zip(*parts, strict=True)))


def grow(model: HybridLearned, log: Interactions, features: "ItemFeatures | None") -> Rankers:
    """The rankers of a model whose members stand, from windows of its own log. Raises UnsuitableError without any."""
    rng = np.random.default_rng(model.config.seed)
    parts: list[Examples] = []
    for window in _tried(log, model, parts):
        n_members = len(model.members_)
        part = _examples(model, window, features, rng)
        if len(model.members_) < n_members:  # what was learned before speaks of members that are gone
            return grow(model, log, features)
        if part is not None and part.labels.any() and not part.labels.all():
            parts.append(part)
    if not parts:
        raise UnsuitableError(
            "hybrid_learned learns from what buyers wanted next, and the log holds no second event of any buyer; "
            "bring a longer log or set models.hybrid_learned.enabled: false"
        )
    examples = Examples.joined(parts)
    parts.clear()  # each holds its share of some hundred megabytes
    # those of the log seen as strangers teach both: what is left of a habit where half of it is not told
    return Rankers(*(_grown(model, examples, side) for side in (~examples.new, ~examples.known)))


def _tried(log: Interactions, model: HybridLearned, parts: list[Examples]) -> Iterator[Window]:
    """The windows; and each user's newest events where those show too little, as the last minutes of a year may."""
    yield from windows(log, model.config.n_windows, model.horizon_)
    if log.dated and sum(int(part.labels.sum()) for part in parts) < ENOUGH:
        yield _window(log, *_latest_out(log))


def _grown(model: HybridLearned, examples: Examples, side: NDArray[np.bool_]) -> BoostedTrees:
    """Trees for one side, or for both where that side alone holds too little."""
    wanted = examples.labels[side]
    some = examples.of(side) if ENOUGH <= wanted.sum() < len(wanted) else examples
    bins = Bins.of(some.features, some.weights)
    estimator = _estimator(model, len(some.labels)).fit(bins.numbers(some.features), some.labels, some.weights)
    return bins.in_features(of_estimator(estimator, model.config.depth))


def _estimator(model: HybridLearned, n_examples: int) -> HistGradientBoostingClassifier:
    config = model.config
    return HistGradientBoostingClassifier(
        max_iter=config.trees,
        learning_rate=config.learning_rate,
        max_depth=config.depth,
        max_leaf_nodes=2**config.depth,
        min_samples_leaf=int(np.clip(n_examples // 500, 5, 300)),
        l2_regularization=20.0,
        max_features=0.5,
        early_stopping=False,
        random_state=config.seed,
    )


def windows(log: Interactions, n_windows: int, horizon_days: float) -> Iterator[Window]:
    """Earlier moments of the log, the newest first, while at least a third of the events lie before."""
    if log.dated:
        ages = log.ages()
        horizon = min(horizon_days, float(ages.max(initial=0)) / 3)
        for number in range(n_windows):
            cut = horizon * (1 + number / 2)
            before = ages > cut
            if before.sum() * 3 < len(log):
                return
            yield _window(log, before, ~before & ((ages > cut - horizon) | (number == 0)))
    else:
        yield _window(log, *_latest_out(log))


def _latest_out(log: Interactions) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """All but each user's newest events, at most NEWEST and no more than a fifth of the user's, and those."""
    counts = np.bincount(log.user_rows, minlength=len(log.users))
    order = np.lexsort((log.timestamps, log.user_rows))
    after = np.cumsum(counts)[log.user_rows[order]] - 1 - np.arange(len(order))  # events that follow of the same user
    held = np.where(counts >= 3, np.clip(counts // 5, 1, NEWEST), 0)
    newest = np.zeros(len(log), dtype=np.bool_)
    newest[order] = after < held[log.user_rows[order]]
    return ~newest, newest


def _window(log: Interactions, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Window:
    seen = np.bincount(log.item_columns[before], minlength=len(log.items)) > 0
    earlier = replace(log.select(before), available=seen)
    known = np.bincount(earlier.user_rows, minlength=len(log.users)) > 0
    wanted = log.select(after).matrix("binary")
    rows = np.flatnonzero(known & (np.diff(wanted.indptr) > 0)).astype(np.int32)
    new = log.select(after & ~known[log.user_rows]).histories()
    visits = np.zeros(len(new), dtype=np.int64)
    np.maximum.at(visits, new.rows, new.visits_ago + 1)
    return Window(earlier, rows, csr_array(wanted[rows]), new[np.flatnonzero(visits > 1)])


def _examples(
    model: HybridLearned, window: Window, features: "ItemFeatures | None", rng: np.random.Generator
) -> Examples | None:
    """A sample of buyers, each with candidates and others; None where nobody came."""
    config = model.config
    if not len(window.user_rows) and not len(window.newcomers):
        return None
    earlier = _earlier(model, window.log, features)
    chosen = np.sort(rng.permutation(len(window.user_rows))[: config.max_users])
    strange = rng.random(len(chosen)) < config.stranger_share
    known = window.log.histories()
    parts = []
    for some in _batches(chosen[~strange]):
        rows = window.user_rows[some]
        parts.append(_labelled(earlier, rows, known[rows], window.wanted[some], rng))
    for some in _batches(chosen[strange]):
        items = _items_of(known[window.user_rows[some]], earlier.as_of_)
        parts.append(_labelled(earlier, _nobody(items), items, window.wanted[some], rng))
    for first in FIRST_EVENTS:
        seen, wanted = first_events(window.newcomers, first)
        come = rng.permutation(np.flatnonzero(np.diff(wanted.indptr) > 0))
        for some in _batches(np.sort(come[: int(config.max_users * config.stranger_share)])):
            items = _items_of(seen[some], earlier.as_of_)
            parts.append(_labelled(earlier, _nobody(items), items, csr_array(wanted[some]), rng, new=True))
    return Examples.joined(parts) if parts else None


def _batches(chosen: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(chosen), BATCH):
        yield chosen[start : start + BATCH]


def _nobody(histories: Histories) -> NDArray[np.int32]:
    return np.full(len(histories), -1, np.int32)


def _earlier(model: HybridLearned, log: Interactions, features: "ItemFeatures | None") -> HybridLearned:
    """The same members, fitted on an earlier log; one that cannot learn from it leaves the model too."""
    earlier = HybridLearned(model.config)
    earlier._remember(log)
    earlier.members_ = {}
    for name, member in list(model.members_.items()):
        try:
            earlier.members_[name] = type(member)(member.refit_config()).fit(log, features)
        except UnsuitableError:
            del model.members_[name]
    earlier.look_at(log, features)
    return earlier


def first_events(newcomers: Histories, n_events: int | None) -> tuple[Histories, csr_array]:
    """What is known of new buyers, (n, n_items), after so many events (None: their first visit), and what they wanted
    in later visits, (n, n_items). The cut never falls inside a visit: the rest of one that has begun is neither.
    """
    starts = newcomers.indptr[newcomers.rows]
    places = np.arange(len(newcomers.item_columns)) - starts
    times = newcomers.timestamps
    known = times == times[starts] if n_events is None else places < n_events
    last = np.full(len(newcomers), np.iinfo(np.int64).min)
    np.maximum.at(last, newcomers.rows[known], times[known])
    return newcomers.select(known), newcomers.select(times > last[newcomers.rows]).matrix


def _items_of(histories: Histories, now: int) -> Histories:
    """The same buyers as strangers: only which items, in the order they were first bought."""
    keys = histories.rows * histories.n_items + histories.item_columns
    first = np.zeros(len(keys), dtype=np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    kept = histories.select(first)
    return replace(kept, timestamps=np.full_like(kept.timestamps, now), weights=np.ones_like(kept.weights))


def _labelled(
    earlier: HybridLearned,
    user_rows: NDArray[np.int32],
    histories: Histories,
    wanted: csr_array,
    rng: np.random.Generator,
    new: bool = False,
) -> Examples:
    """Candidates thinned out, and a few of all other items; each stands for as many as it was drawn from."""
    n, n_items = histories.shape
    looks, columns = earlier.propose(user_rows, histories, 1, earlier.available_, None if earlier.repeat_ else True)
    candidates = (np.arange(n)[:, None] * n_items + columns)[columns >= 0]
    wanted_keys = np.repeat(np.arange(n), np.diff(wanted.indptr)) * n_items + wanted.indices
    drawn = (np.arange(n)[:, None] * n_items + rng.integers(n_items, size=(n, OTHERS))).ravel()
    keys = np.unique(np.concatenate([candidates, wanted_keys, drawn]))
    if not earlier.repeat_:
        keys = keys[~np.isin(keys, histories.rows * n_items + histories.item_columns)]
    keys = keys[earlier.available_[keys % n_items]]
    rows, labels, near = keys // n_items, np.isin(keys, wanted_keys), np.isin(keys, candidates)
    n_wanted = np.bincount(rows, labels, minlength=n)
    n_near, n_far = (np.bincount(rows, ~labels & side, minlength=n) for side in (near, ~near))
    share = np.minimum(1.0, np.maximum(NEGATIVES, 3 * n_wanted) / np.maximum(n_near, 1))
    kept = np.where(near, labels | (rng.random(len(keys)) < share[rows]), not earlier.dated_)
    stands_for = np.where(near, 1 / share[rows], FAR_WEIGHT * n_items / np.maximum(n_far, 1)[rows])
    weights = np.where(labels, np.where(near, 1.0, FAR_WEIGHT), stands_for)[kept]
    rows, items, labels = rows[kept], (keys % n_items)[kept].astype(np.int32), labels[kept]
    counts = np.bincount(rows, minlength=n)
    padded = np.full((n, int(counts.max(initial=0))), -1, dtype=np.int32)
    padded[np.arange(padded.shape[1]) < counts[:, None]] = items
    found = earlier.features(user_rows, histories, padded, looks)
    return Examples(found, labels, weights, user_rows[rows] >= 0, np.full(len(labels), new))
