"""Calibration: from the scores of a list to the probability that the user buys each item.

The probability is that of a user who buys something within the horizon of the protocol, as in the evaluation. It is
learned by isotonic regression (Zadrozny & Elkan 2002) from the lists of held-out users. It is learned from lists, not
from all pairs of users and items: the items at the top of a list are those whose scores came out too high as often as
not, so among pairs with equal scores those in a list are bought less often. For the same reason a list is divided into
bands of ranks, each with a curve of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

# a list of all items; of items that the user bought before; of items that are new to the user; of any items for a
# cold-start user; of items that are popular among users with the same attributes; of popular items, for a user of whom
# nothing is known
Kind = Literal["all", "reorder", "discovery", "cold_start", "segment", "popularity"]
INSTEAD: Mapping[Kind, Kind] = {
    **dict.fromkeys(("reorder", "discovery", "cold_start"), "all"),
    "popularity": "cold_start",
    "segment": "popularity",  # both are calibrated as shares of all events
}

BANDS = (10, 30, 100)  # the last rank of each band; further ranks are in the last one
PREFIX = "calibration."  # of the names of arrays in a bundle
MIN_USERS = 50  # with fewer held-out users there is no curve for a kind of list
MIN_BOUGHT = 20  # and with fewer bought items none for a band


class Curve(NamedTuple):
    """Probability by score, rising: linear between the points, constant outside. Both (n_points,) float64."""

    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """The curves of a model: for each kind of list one curve per band."""

    curves: Mapping[str, tuple[Curve, ...]]

    def probabilities(self, kind: Kind, scores: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """(n, k): the probability of each item of lists, never higher than that of an item above it.

        scores: (n, k), in descending order; -inf, where a list ends, gives 0. None if nothing is known of this kind
        of list. A kind without curves uses those of INSTEAD.
        """
        chosen: Kind | None = kind
        while chosen is not None and chosen not in self.curves:
            chosen = INSTEAD.get(chosen)
        if chosen is None:
            return None
        found = np.zeros(scores.shape, dtype=np.float32)
        for start, end, curve in zip((0, *BANDS), (*BANDS[:-1], scores.shape[1]), self.curves[chosen], strict=False):
            found[:, start:end] = np.interp(scores[:, start:end], curve.scores, curve.probabilities)
        found[np.isneginf(scores)] = 0.0
        return np.minimum.accumulate(found, axis=1)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The curves as named arrays, for a bundle."""
        return {
            f"{PREFIX}{kind}.{band}.{name}": getattr(curve, name)
            for kind, curves in self.curves.items()
            for band, curve in enumerate(curves)
            for name in Curve._fields
        }

    @classmethod
    def split(cls, arrays: Mapping[str, NDArray[Any]]) -> "tuple[Calibration | None, dict[str, NDArray[Any]]]":
        """The inverse of arrays(), for all arrays of a bundle: its calibration, if it has one, and the other arrays."""
        curves: dict[str, list[Curve]] = {}
        for name in arrays:
            if name.startswith(PREFIX) and name.endswith(".scores"):
                curves.setdefault(name.split(".")[1], [])
        for kind, bands in curves.items():
            while (start := f"{PREFIX}{kind}.{len(bands)}.") + "scores" in arrays:
                bands.append(Curve(*(arrays[start + field] for field in Curve._fields)))
        others = {name: array for name, array in arrays.items() if not name.startswith(PREFIX)}
        return (cls({kind: tuple(bands) for kind, bands in curves.items()}) if curves else None), others


class RankedUsers(NamedTuple):
    """Lists of held-out users, best first, and what the users bought; the lists are at most BANDS[-1] long."""

    scores: NDArray[np.float32]  # (n, k), in descending order; -inf where a list ends
    bought: NDArray[np.bool_]  # (n, k)

    @classmethod
    def of(cls, item_columns: NDArray[np.int32], scores: NDArray[np.float32], relevant: csr_array) -> "RankedUsers":
        """item_columns: (n, k), -1 where a list ends. relevant: (n, n_items), the items that each user bought."""
        n_items = relevant.shape[1]
        pairs = np.repeat(np.arange(len(item_columns)), np.diff(relevant.indptr)) * n_items + relevant.indices
        keys = np.arange(len(item_columns))[:, None] * n_items + item_columns
        return cls(scores, np.isin(keys, pairs) & (item_columns >= 0))


def fit_calibration(lists: Mapping[Kind, RankedUsers]) -> Calibration | None:
    """The curves for each kind of list with enough held-out users; None if there are none."""
    curves: dict[str, tuple[Curve, ...]] = {
        kind: fitted for kind, users in lists.items() if (fitted := _fit_bands(users))
    }
    return Calibration(curves) if curves else None


def _fit_bands(users: RankedUsers) -> tuple[Curve, ...]:
    """A curve for each band; a band with too few bought items has that of the band above."""
    if len(users.scores) < MIN_USERS:
        return ()
    curves: list[Curve] = []
    for start, end in zip((0, *BANDS), BANDS, strict=False):
        scores, bought = users.scores[:, start:end].ravel(), users.bought[:, start:end].ravel()
        listed = ~np.isneginf(scores)
        if bought.sum() >= MIN_BOUGHT:
            curves.append(_isotonic(scores[listed], bought[listed]))
        elif curves:
            curves.append(curves[-1])
        else:
            return ()
    return tuple(curves)


def _isotonic(scores: NDArray[np.float32], bought: NDArray[np.bool_]) -> Curve:
    from sklearn.isotonic import IsotonicRegression  # needed to fit, not to serve

    fitted = IsotonicRegression().fit(scores.astype(np.float64), bought)
    least = 0.5 / len(scores)  # no list is certain, whatever this sample says
    return Curve(fitted.X_thresholds_, fitted.y_thresholds_.clip(least, 1 - least))
