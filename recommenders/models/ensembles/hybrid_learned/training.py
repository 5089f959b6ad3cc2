"""How the ranker of hybrid_learned grows: members fitted on earlier cuts of the log are watched for what came next."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.ensemble import HistGradientBoostingClassifier

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.ensembles.hybrid_learned.binning import Bins
from recommenders.models.ensembles.hybrid_learned.candidates import Candidates
from recommenders.models.ensembles.hybrid_learned.choice import Asked, Choices, choose
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.rankers import Rankers
from recommenders.models.ensembles.hybrid_learned.trees import BoostedTrees, of_estimator
from recommenders.models.ensembles.hybrid_learned.windows import Window, first_events, newest_events, windows
from recommenders.models.recommender import Recommender

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

OTHERS = 30  # items of each buyer from the whole catalogue where what comes next is asked: one answer among them all
FAR_WEIGHT = 0.1  # how much one of them counts beside a candidate
ENOUGH = 50  # wanted pairs that a ranker can learn something from
FIRST_EVENTS = (None, 1, 3, 8)  # what is known of a new buyer before later visits are asked for; None: the first visit
BATCH = 256  # buyers whose candidates are gathered at once
MAX_ASKED = 2000  # users of each side whose lists decide between ranker and base models


class Examples(NamedTuple):
    """Pairs of a buyer and an item: features (n, n_features); wanted or not (n,); how many each stands for (n,)."""

    features: NDArray[np.float32]
    labels: NDArray[np.bool_]
    weights: NDArray[np.float64]
    known: NDArray[np.bool_]  # (n,) whether the buyer was looked at as one of the log
    new: NDArray[np.bool_]  # (n,) whether the buyer really was none
    users: NDArray[np.int64]  # (n,) a number of each user within the window

    def of(self, some: NDArray[np.bool_]) -> "Examples":
        """Some of them, by a mask (n,)."""
        return Examples(**{name: getattr(self, name)[some] for name in self._fields})

    @classmethod
    def joined(cls, parts: "list[Examples]") -> "Examples":
        return cls(*(np.concatenate(some) for some in zip(*parts, strict=True)))


def fit_rankers(
    candidates: Candidates, log: Interactions, features: "ItemFeatures | None"
) -> tuple[Candidates, Rankers, Choices]:
    """The rankers of a log's base models, from windows of that log, and where base models order instead.

    Returns the candidates with the base models that could be fitted before each window; others are left out. Raises
    UnsuitableError if no window holds anything to learn from.
    """
    parts: list[Examples] = []
    ends: list[int] = []  # of the window of each part
    newest: tuple[Candidates, Window] | None = None
    for number, window in enumerate(_tried(log, candidates, parts)):
        rng = np.random.default_rng([candidates.config.seed, number])  # what one window draws depends on no other
        earlier = _earlier(candidates, window.log, features)
        if len(earlier.base_models) < len(candidates.base_models):  # what was learned before used models that are gone
            left = {name: model for name, model in candidates.base_models.items() if name in earlier.base_models}
            return fit_rankers(replace(candidates, base_models=left), log, features)
        part = _examples(earlier, window, rng)
        if part is not None and part.labels.any() and not part.labels.all():
            parts.append(part)
            ends.append(window.end)
            newest = newest or (earlier, window)
    if newest is None:
        raise UnsuitableError(
            "hybrid_learned learns from what buyers wanted next, and the log holds no second event of any buyer; "
            "bring a longer log or set models.hybrid_learned.enabled: false"
        )
    before = [part for part, end in zip(parts, ends, strict=True) if end <= newest[1].cut]
    choices = _choices(*newest, Examples.joined(before) if before else None, parts[0])
    examples = Examples.joined(parts)
    parts.clear()  # each holds its share of some hundred megabytes
    return candidates, _rankers(candidates.config, examples), choices


def _rankers(config: HybridLearnedConfig, examples: Examples) -> Rankers:
    # those of the log seen as strangers teach both: what is left of a habit where half of it is not told
    return Rankers(*(_grown(config, examples, side) for side in (~examples.new, ~examples.known)))


def _choices(earlier: Candidates, window: Window, before: Examples | None, within: Examples) -> Choices:
    """Where base models order pairs as well as rankers do that did not learn from these users of the window.

    before: examples of windows that ended before this one began; where there are too few, the rankers learn from one
    half of the window's users, `within`, and are judged by the other.
    """
    if before is not None and before.labels.sum() >= ENOUGH:
        rankers = [_rankers(earlier.config, before)]
    elif within.labels.sum() >= 2 * ENOUGH:
        halves = [within.of(within.users % 2 != half) for half in (0, 1)]
        if not all(half.labels.any() and not half.labels.all() for half in halves):
            return Choices()
        rankers = [_rankers(earlier.config, half) for half in halves]
    else:
        return Choices()
    found = Choices()
    for users, kinds in (
        (_known_asked(earlier, window), ("bought", "new")),
        (_new_asked(earlier, window), ("cold_start",)),
    ):
        if users is None:
            continue
        asked, numbers = users
        of_pairs = numbers[np.nonzero(asked.columns >= 0)[0]]
        scores = np.empty(len(of_pairs), np.float32)
        for half, ranker in enumerate(rankers):  # one for all, or each for the half that it did not learn from
            some = of_pairs % len(rankers) == half
            scores[some] = ranker.score(asked.features[some], np.full(int(some.sum()), "cold_start" not in kinds))
        found = found._replace(**choose(scores, asked, kinds, len(earlier.base_models), earlier.repeat))
    return found


def _known_asked(earlier: Candidates, window: Window) -> tuple[Asked, NDArray[np.int64]] | None:
    """Known users of a window and all their candidates; and their numbers, as in Examples."""
    rng = np.random.default_rng(earlier.config.seed)
    chosen = np.sort(rng.permutation(len(window.user_rows))[:MAX_ASKED])
    rows = window.user_rows[chosen]
    if not len(rows):
        return None
    return _asked(earlier, rows, window.log.histories()[rows], csr_array(window.wanted[chosen])), rows.astype(np.int64)


def _new_asked(earlier: Candidates, window: Window) -> tuple[Asked, NDArray[np.int64]] | None:
    """New users of a window who came back after their first visit."""
    seen, wanted = first_events(window.newcomers, None)
    came_back = np.flatnonzero(np.diff(wanted.indptr) > 0)[:MAX_ASKED]
    if not len(came_back):
        return None
    items = _items_of(seen[came_back], earlier.as_of)
    return _asked(earlier, _nobody(items), items, csr_array(wanted[came_back])), came_back


def _asked(earlier: Candidates, user_rows: NDArray[np.int32], histories: Histories, wanted: csr_array) -> Asked:
    parts = []
    for some in _batches(np.arange(len(user_rows))):
        rows, known = user_rows[some], histories[some]
        exclude_known = None if earlier.repeat else True
        looks, columns = earlier.propose(rows, known, 1, earlier.available, exclude_known)
        parts.append((columns, earlier.features(rows, known, columns, looks)))
    width = max(columns.shape[1] for columns, _ in parts)
    padded = [np.pad(columns, ((0, 0), (0, width - columns.shape[1])), constant_values=-1) for columns, _ in parts]
    possible = csr_array(wanted.astype(bool).astype(np.float32).multiply(earlier.available.astype(np.float32)))
    possible.eliminate_zeros()
    return Asked(np.vstack(padded), np.concatenate([found for _, found in parts]), histories.matrix, possible)


def _tried(log: Interactions, candidates: Candidates, parts: list[Examples]) -> Iterator[Window]:
    """The windows; and each user's newest events where those show too little, as the last minutes of a year may."""
    yield from windows(log, candidates.config.n_windows, candidates.horizon)
    if log.dated and sum(int(part.labels.sum()) for part in parts) < ENOUGH:
        yield newest_events(log)


def _grown(config: HybridLearnedConfig, examples: Examples, side: NDArray[np.bool_]) -> BoostedTrees:
    """Trees for one side, or for both where that side alone holds too little."""
    wanted = examples.labels[side]
    some = examples.of(side) if ENOUGH <= wanted.sum() < len(wanted) else examples
    bins = Bins.of(some.features, some.weights)
    estimator = _estimator(config, len(some.labels)).fit(bins.numbers(some.features), some.labels, some.weights)
    return bins.in_features(of_estimator(estimator, config.depth))


def _estimator(config: HybridLearnedConfig, n_examples: int) -> HistGradientBoostingClassifier:
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


def _examples(earlier: Candidates, window: Window, rng: np.random.Generator) -> Examples | None:
    """A sample of buyers, each with candidates and others; None where nobody came."""
    config = earlier.config
    if not len(window.user_rows) and not len(window.newcomers):
        return None
    chosen = np.sort(rng.permutation(len(window.user_rows))[: config.max_users])
    strange = rng.random(len(chosen)) < config.stranger_share
    known = window.log.histories()
    parts = []
    for some in _batches(chosen[~strange]):
        rows = window.user_rows[some]
        parts.append(_labelled(earlier, rows, known[rows], window.wanted[some], rng, rows))
    for some in _batches(chosen[strange]):
        rows = window.user_rows[some]
        items = _items_of(known[rows], earlier.as_of)
        parts.append(_labelled(earlier, _nobody(items), items, window.wanted[some], rng, rows))
    for first in FIRST_EVENTS:
        seen, wanted = first_events(window.newcomers, first)
        come = rng.permutation(np.flatnonzero(np.diff(wanted.indptr) > 0))
        for some in _batches(np.sort(come[: int(config.max_users * config.stranger_share)])):
            items = _items_of(seen[some], earlier.as_of)
            parts.append(_labelled(earlier, _nobody(items), items, csr_array(wanted[some]), rng, some, new=True))
    return Examples.joined(parts) if parts else None


def _batches(chosen: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(chosen), BATCH):
        yield chosen[start : start + BATCH]


def _nobody(histories: Histories) -> NDArray[np.int32]:
    return np.full(len(histories), -1, np.int32)


def _earlier(candidates: Candidates, log: Interactions, features: "ItemFeatures | None") -> Candidates:
    """The same base models, fitted on an earlier log, without those that cannot learn from it.

    What is known of items is what was known then.
    """
    features = features.as_of(log.last_event, log.items) if features else None
    fitted: dict[str, Recommender] = {}
    for name, model in candidates.base_models.items():
        with contextlib.suppress(UnsuitableError):
            fitted[name] = type(model)(model.refit_config()).fit(log, features)
    return Candidates.of(candidates.config, fitted, log, features)


def _items_of(histories: Histories, now: int) -> Histories:
    """The same buyers as strangers: only which items, in the order they were first bought."""
    keys = histories.rows * histories.n_items + histories.item_columns
    first = np.zeros(len(keys), dtype=np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    kept = histories.select(first)
    return replace(kept, timestamps=np.full_like(kept.timestamps, now), weights=np.ones_like(kept.weights))


def _labelled(
    earlier: Candidates,
    user_rows: NDArray[np.int32],
    histories: Histories,
    wanted: csr_array,
    rng: np.random.Generator,
    numbers: NDArray[np.int32] | NDArray[np.int64],
    new: bool = False,
) -> Examples:
    """All candidates; where what comes next is asked, also what else was wanted and a few of all other items.

    What is no candidate counts FAR_WEIGHT as much; the few items drawn stand for the whole catalogue. numbers: (n,) of
    the users, for Examples.users.
    """
    n, n_items = histories.shape
    looks, columns = earlier.propose(user_rows, histories, 1, earlier.available, None if earlier.repeat else True)
    candidates = (np.arange(n)[:, None] * n_items + columns)[columns >= 0]
    wanted_keys = np.repeat(np.arange(n), np.diff(wanted.indptr)) * n_items + wanted.indices
    drawn = (np.arange(n)[:, None] * n_items + rng.integers(n_items, size=(n, OTHERS))).ravel()
    keys = np.unique(candidates if earlier.dated else np.concatenate([candidates, wanted_keys, drawn]))
    if not earlier.repeat:
        keys = keys[~np.isin(keys, histories.rows * n_items + histories.item_columns)]
    keys = keys[earlier.available[keys % n_items]]
    rows, items = keys // n_items, (keys % n_items).astype(np.int32)
    labels, near = np.isin(keys, wanted_keys), np.isin(keys, candidates)
    n_far = np.bincount(rows, ~labels & ~near, minlength=n)
    stands_for = np.where(labels, 1.0, n_items / np.maximum(n_far, 1)[rows])
    weights = np.where(near, 1.0, FAR_WEIGHT * stands_for)
    counts = np.bincount(rows, minlength=n)
    padded = np.full((n, int(counts.max(initial=0))), -1, dtype=np.int32)
    padded[np.arange(padded.shape[1]) < counts[:, None]] = items
    found = earlier.features(user_rows, histories, padded, looks)
    is_new = np.full(len(labels), new)
    return Examples(found, labels, weights, user_rows[rows] >= 0, is_new, numbers[rows].astype(np.int64))
