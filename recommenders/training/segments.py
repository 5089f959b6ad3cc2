"""Fits the popularity among users with the same attributes, and checks that it is worth using.

The list is for users of whom no event is known. So it is checked on such users: those whose first event is in one of
the newest windows of the log, by the events before that window. Half of them choose the attributes and the strengths
of the priors, the other half decide whether segments are used at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array

from recommenders.evaluation.statistics.comparison import Interval, paired_difference
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.features.ranking import feature_horizon_days
from recommenders.math.ranked import Ranked, mask_and_rank
from recommenders.metrics.ranking import K, ndcg
from recommenders.models.calibration import BANDS, Calibration, RankedUsers, fit_calibration
from recommenders.models.popularity import Popularity, SegmentCounts, Segments
from recommenders.splitting.windows import NewUsers, new_users

if TYPE_CHECKING:
    import pyarrow as pa

ATTRIBUTES = ("industry", "region", "segment")  # columns of the table of users
MAX_WINDOWS = 12  # a year of months
MAX_USERS = 200  # new users of a window whose lists are made
WEAKEST = 1e-6  # least strength of a prior, as a share of the weight of all events; the largest share is 1

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SegmentFit:
    """The segments to serve, or None, and why; the gain of NDCG@10 over popularity, if it was measured.

    calibration: the curves of the lists for users without a history, of popularity and of segments; None if too few
    users joined.
    """

    segments: Segments | None
    reason: str
    gain: Interval | None = None
    calibration: Calibration | None = None


def fit_segments(popularity: Popularity, log: Interactions, users: "pa.Table") -> SegmentFit:
    """The segments for a popularity model that is fitted on the log. users: in schema.USERS."""
    values = _values(users, log.users)
    joined = [
        Joined.of(popularity, window, values) for window in new_users(log, MAX_WINDOWS, feature_horizon_days(log))
    ]
    plain = _lists(joined, {})
    calibration = fit_calibration({"popularity": plain})
    if not values:
        return SegmentFit(None, "no user has an industry, region or segment", None, calibration)
    choosing, deciding = ([window.half(number, values) for window in joined] for number in (0, 1))
    strengths = _chosen(choosing, values)
    if not strengths:
        reason = "no attribute makes the lists of new users better" if joined else "no window of the log has new users"
        return SegmentFit(None, reason, None, calibration)
    n_users = sum(len(window.rows) for window in deciding)
    if n_users < 2:
        return SegmentFit(None, f"of the users who were new, got {n_users} to decide by; needed: 2", None, calibration)
    gain = paired_difference(_ndcg(deciding, strengths), _ndcg(deciding, {}))
    reason = (
        f"by {', '.join(sorted(strengths))}: NDCG@{K} of {n_users} users who were new, minus that of popularity: "
        f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
    )
    if not gain.low >= 0:  # nan if fewer than two lists can be compared
        return SegmentFit(None, f"{reason}, so it may be worse", gain, calibration)
    weights = popularity.event_weights(log)
    counts = {name: values[name].segments(log, weights, strength) for name, strength in strengths.items()}
    calibration = fit_calibration({"popularity": plain, "segment": _lists(joined, strengths)})
    return SegmentFit(Segments(counts), reason, gain, calibration)


@dataclass(frozen=True, eq=False)
class AttributeValues:
    """The values of one attribute, and which one each user of a log has."""

    ids: IdMap
    of_user: NDArray[np.int32]  # (n_users,) rows of ids; -1: none

    def of(self, user_row: int) -> str | None:
        """The value of one user."""
        place = self.of_user[user_row]
        return str(self.ids.ids[place]) if place >= 0 else None

    def only(self, user_rows: NDArray[np.int32]) -> "AttributeValues":
        """Without the values that none of these users has: less to count."""
        return AttributeValues(self.ids, np.where(np.isin(self.of_user, self.of_user[user_rows]), self.of_user, -1))

    def segments(self, log: Interactions, weights: Floats, strength: float) -> SegmentCounts:
        """The summed weights, (n_events,), of the events of the users with each value."""
        rows = self.of_user[log.user_rows]
        kept = (rows >= 0) & (weights > 0)
        places = (rows[kept], log.item_columns[kept])
        matrix = csr_array((weights[kept], places), shape=(len(self.ids), len(log.items)), dtype=np.float64)
        matrix.sum_duplicates()
        return SegmentCounts(self.ids, matrix, strength)


def _values(users: "pa.Table", known: IdMap) -> dict[str, AttributeValues]:
    """The values of each attribute that a user of the log has."""
    rows = known.rows(users["user_id"].to_numpy().astype(np.str_)).tolist()
    found = {}
    for name in ATTRIBUTES:
        pairs = zip(rows, users[name].to_pylist(), strict=True)
        given = {row: value for row, value in pairs if row >= 0 and value is not None}
        if given:
            ids, of_user = IdMap.from_ids(given.values()), np.full(len(known), -1, dtype=np.int32)
            of_user[list(given)] = ids.rows(list(given.values()))
            found[name] = AttributeValues(ids, of_user)
    return found


@dataclass(frozen=True, eq=False)
class Joined:
    """The users whose first event is in a window, and what was known before it."""

    rows: NDArray[np.int32]  # (n,) of the users
    targets: csr_array  # (n, n_items)
    available: NDArray[np.bool_]  # (n_items,)
    popularity: NDArray[np.float32]  # (n_items,)
    segments: Mapping[str, SegmentCounts]  # by attribute; without strengths
    values: Mapping[str, AttributeValues]

    @classmethod
    def of(cls, popularity: Popularity, window: NewUsers, values: Mapping[str, AttributeValues]) -> "Joined":
        """At most MAX_USERS of the window. popularity: a model with the settings that count."""
        log, weights, n_users = window.log, popularity.event_weights(window.log), len(window.user_rows)
        some = np.unique(np.linspace(0, n_users - 1, min(MAX_USERS, n_users)).astype(np.int64))
        rows = window.user_rows[some]
        segments = {name: part.only(rows).segments(log, weights, 0.0) for name, part in values.items()}
        sums = np.bincount(log.item_columns, weights, len(log.items)).astype(np.float32)
        return cls(rows, window.targets[some], log.available, sums, segments, values)

    def half(self, number: int, values: Mapping[str, AttributeValues]) -> "Joined":
        """Every second of the users with an attribute, from 0 or 1 on."""
        has_any = np.any([part.of_user[self.rows] >= 0 for part in values.values()], axis=0)
        chosen = np.flatnonzero(has_any)[number::2]
        return Joined(
            self.rows[chosen], self.targets[chosen], self.available, self.popularity, self.segments, self.values
        )

    def ranked(self, strengths: Mapping[str, float], k: int) -> Ranked:
        """(n, k) the list of each user by some attributes, as it would be served before the window."""
        parts = {name: replace(self.segments[name], strength=strength) for name, strength in strengths.items()}
        segments, found = Segments(parts), []
        for row in self.rows.tolist():
            values = {name: self.values[name].of(row) for name in strengths}
            scores = segments.scores(self.popularity, segments.known(values))[None]
            found.append(mask_and_rank(scores, k, self.available))
        empty = Ranked(np.empty((0, k), np.int32), np.empty((0, k), np.float32))
        return Ranked(*(np.concatenate(arrays) for arrays in zip(empty, *found, strict=True)))

    @property
    def total(self) -> float:
        """The summed weight of the events of all users."""
        return float(self.popularity.sum(dtype=np.float64))

    def evidence(self, name: str) -> tuple[Floats, Floats, Floats]:
        """Of each target, three numbers, (n_pairs,): its share in the segment of its user over its share in all events,
        times the weight of the segment; the weight of the segment; and a weight, which is 1 for all targets of a user.

        Targets that no user bought before are left out, because they have no share.
        """
        rows = np.repeat(self.rows, np.diff(self.targets.indptr))
        values, columns = self.values[name].of_user[rows], self.targets.indices
        kept = (values >= 0) & (self.popularity[columns] > 0)
        rows, values, columns = rows[kept], values[kept], columns[kept]
        if not len(rows):
            return np.empty(0), np.empty(0), np.empty(0)  # scipy's result for no places would be a sparse array
        counts = self.segments[name].counts
        ratios = np.asarray(counts[values, columns]).ravel() / self.popularity[columns] * self.total
        totals = np.asarray(counts.sum(axis=1)).ravel()[values]
        return ratios, totals, 1 / np.bincount(rows)[rows]


def _lists(joined: Sequence[Joined], strengths: Mapping[str, float]) -> RankedUsers:
    """The lists of the users of all windows by some attributes, with shares as scores; by none, those of popularity."""
    parts = [RankedUsers(np.empty((0, BANDS[-1]), np.float32), np.empty((0, BANDS[-1]), np.bool_))]
    for window in joined:
        columns, scores = window.ranked(strengths, BANDS[-1])
        shares = scores / np.float32(max(window.total, 1e-9))
        parts.append(RankedUsers.of(columns, shares, window.targets))
    return RankedUsers(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _ndcg(joined: Sequence[Joined], strengths: Mapping[str, float]) -> Floats:
    """NDCG@K of the users of all windows, by some attributes."""
    found = [ndcg(window.ranked(strengths, K).item_columns, window.targets) for window in joined]
    return np.concatenate([np.empty(0), *found])


def _chosen(joined: Sequence[Joined], values: Mapping[str, AttributeValues]) -> dict[str, float]:
    """Attribute -> strength. The attribute with the best lists first, then each that makes them better still."""
    strengths = {name: found for name in sorted(values) if (found := _strength(joined, name)) is not None}
    chosen: dict[str, float] = {}
    best = _ndcg(joined, chosen).mean() if strengths else 0.0
    while len(chosen) < len(strengths):
        means = {
            name: _ndcg(joined, {**chosen, name: strength}).mean()
            for name, strength in strengths.items()
            if name not in chosen
        }
        name = max(means, key=lambda name: means[name])
        if not means[name] > best:
            break
        chosen[name], best = strengths[name], means[name]
    return chosen


def _strength(joined: Sequence[Joined], name: str) -> float | None:
    """The strength of the prior of an attribute by which the targets are most probable, every user counting the same.

    None if they are not more probable by the attribute than by popularity.
    """
    parts = [window.evidence(name) for window in joined]
    ratios, totals, weights = (np.concatenate([np.empty(0), *(part[i] for part in parts)]) for i in range(3))
    if not len(ratios):
        return None

    def loss(log_strength: float) -> float:
        strength = np.exp(log_strength)
        return -float(weights @ np.log((ratios + strength) / (totals + strength)))

    most = np.log(max(window.total for window in joined))
    best = minimize_scalar(loss, bounds=(most + np.log(WEAKEST), most), method="bounded")
    return float(np.exp(best.x)) if best.fun < 0 else None
