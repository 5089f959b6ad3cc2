"""Buyers and items as points of one space, learned from what was bought and, lightly, from all that was not."""

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import lapack
from scipy.sparse import csr_array

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.event_weighting import EventValues, EventValuesConfig, Known
from recommenders.models.recommender import BLOCK, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

ROWS = 65_536  # of factors turned at once
PARTS = 8  # of the rows for each thread: who is done early takes the next
TYPICAL_PRODUCT = 8.0  # reg x unobserved_weight x sqrt(users x items); see implied_weight
SAMPLE = 10_000  # observed pairs that the learning curve looks at
SPREAD = 0.1  # of the first item vectors' length


class IALSConfig(EventValuesConfig):
    """The size of the space, what holds the vectors back, and how long they are improved."""

    embedding_dim: int = Field(default=128, ge=1)
    reg: float = Field(default=0.005, gt=0)
    unobserved_weight: float | None = Field(default=None, gt=0)  # of a pair, bought or not; None: implied_weight
    epochs: int = Field(default=12, ge=1)  # each improves all buyers, then all items
    solver_steps: int = Field(default=2, ge=1)  # of conjugate gradients from the epoch before
    n_threads: int = Field(default=2, ge=1)


class Side(NamedTuple):
    """The users, or the items, of the factorisation."""

    entries: csr_array  # (n, n_others) float32
    factors: NDArray[np.float32]  # (n, d)
    regs: NDArray[np.float32]  # (n,)
    bounds: list[tuple[int, int]]  # rows of about equal work


class IALS(Recommender):
    """iALS: minimises sum of c (1 - x y)^2 over the observed pairs + w (x y)^2 over all pairs + the regularisation.

    Rows are regularised by reg * (sum of their c + w * number of the other side's rows). Every buyer, known or
    stranger, is solved for when asked, from the history alone. Hu et al. 2008; Rendle et al. 2022 (Revisiting the
    performance of iALS); Takács et al. 2011 (conjugate gradients), here on the axes of the Gramian, where it is
    diagonal.
    """

    name = "ials"
    Config = IALSConfig
    config: IALSConfig
    handles_new_users: ClassVar[bool] = True

    item_factors_: NDArray[np.float32]  # (n_items, d) on the axes of their Gramian; 0 of items nobody has
    gramian_: NDArray[np.float32]  # (d,) its diagonal, times the unobserved weight
    held_back_: float  # unobserved weight x items somebody has
    event_values_: EventValues

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: both sides' factors, a turned block of them, the entries by user and by item, a block of scores."""
        size = 4.0 * min(self.config.embedding_dim, min(interactions.shape))
        factors = size * (sum(interactions.shape) + 2 * ROWS)
        return factors + 96.0 * len(interactions) + 12.0 * BLOCK * len(interactions.items)

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        self.event_values_ = EventValues.settled(self.config, interactions)
        matrix = self.event_values_.learned(interactions)
        used = [int(np.count_nonzero(np.bincount(rows))) for rows in matrix.nonzero()]  # users, items
        weight = self.config.unobserved_weight or implied_weight(matrix, self.config.reg, used[0] * used[1])
        users, items = self._sides(matrix, weight, used)
        with ThreadPoolExecutor(self.config.n_threads) as pool:
            for epoch in range(self.config.epochs if matrix.nnz else 0):  # of an empty log all vectors stay 0
                self._alternate(users, items, weight, pool)
                self._alternate(items, users, weight, pool)
                if tracker is not None:
                    tracker.log(epoch, {"observed_error": _observed_error(users, items)})
        self.gramian_ = _turn_to_own_axes(items.factors, users.factors, weight)
        self.item_factors_, self.held_back_ = items.factors, weight * used[1]

    def _sides(self, matrix: csr_array, weight: float, used: list[int]) -> tuple[Side, Side]:
        """Users, who start at the origin, and items, who start about it."""
        dim = self.config.embedding_dim
        rng = np.random.default_rng(self.config.seed)
        first = rng.standard_normal((matrix.shape[1], dim), dtype=np.float32) * np.float32(SPREAD / dim**0.5)
        by_item = csr_array(matrix.T)
        first[np.diff(by_item.indptr) == 0] = 0.0
        origin = np.zeros((matrix.shape[0], dim), dtype=np.float32)
        return self._side(matrix, origin, weight * used[1]), self._side(by_item, first, weight * used[0])

    def _side(self, entries: csr_array, factors: NDArray[np.float32], held_back: float) -> Side:
        sums = np.asarray(entries.sum(axis=1), dtype=np.float64)
        regs = (self.config.reg * (sums + held_back)).astype(np.float32)
        work = np.linspace(0, entries.nnz, self.config.n_threads * PARTS + 1)
        cuts = np.searchsorted(entries.indptr, work).clip(max=len(factors)).tolist()
        cuts[0], cuts[-1] = 0, len(factors)
        return Side(entries, factors, regs, list(pairwise(cuts)))

    def _alternate(self, moved: Side, fixed: Side, weight: float, pool: ThreadPoolExecutor) -> None:
        """Improves one side, in place."""
        from recommenders.models.ials.solver import improve

        common = _turn_to_own_axes(fixed.factors, moved.factors, weight)
        entries = (moved.entries.indptr, moved.entries.indices, moved.entries.data)
        rest = (entries, fixed.factors, moved.factors, common, moved.regs, self.config.solver_steps)
        list(pool.map(lambda bounds: improve(bounds, *rest), moved.bounds))

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): inner products; 0 for an empty history."""
        scores: NDArray[np.float32] = self.user_factors(histories) @ self.item_factors_.T
        return scores

    def score_items(
        self, user_rows: NDArray[np.int32], histories: Histories, item_columns: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """(n, m): the same for some items."""
        factors = self.user_factors(histories)
        scores: NDArray[np.float32] = (self.item_factors_[item_columns] @ factors[:, :, None])[:, :, 0]
        return scores

    def user_factors(self, histories: Histories) -> NDArray[np.float32]:
        """(n, d): where each buyer's history puts them, exactly."""
        if len(histories) == 1:
            return self._solve(self.event_values_.known_of_one(histories))[None]
        known = self.event_values_.known(histories)
        factors = np.zeros((len(histories), len(self.gramian_)), dtype=np.float32)
        for row, (start, stop) in enumerate(pairwise(known.indptr)):
            factors[row] = self._solve(Known(known.indices[start:stop], known.data[start:stop]))
        return factors

    def _solve(self, known: Known) -> NDArray[np.float32]:
        """(d,): the minimum for one buyer; a system of d unknowns, or of as many as there are items, if fewer."""
        vectors = self.item_factors_[known.item_columns]
        diagonal = self.gramian_ + np.float32(self.config.reg * (float(known.values.sum()) + self.held_back_))
        if len(vectors) < len(diagonal):  # (D + Y'CY)^-1 Y'C 1 = D^-1 Y' (C^-1 + Y D^-1 Y')^-1 1
            weighted = vectors / diagonal
            system, target = vectors @ weighted.T, np.ones(len(vectors), dtype=np.float32)
            system.ravel()[:: len(vectors) + 1] += 1.0 / known.values
        else:
            scaled = vectors * np.sqrt(known.values)[:, None]
            system, target, weighted = scaled.T @ scaled, known.values @ vectors, None
            system.ravel()[:: len(diagonal) + 1] += diagonal
        solution = _solved(system, target)
        result: NDArray[np.float32] = solution if weighted is None else solution @ weighted
        return result

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The items' side; a buyer's is made of it."""
        return {
            "item_factors": self.item_factors_,
            "gramian": self.gramian_,
            "held_back": np.array([self.held_back_]),
            "half_life_days": np.array([self.event_values_.half_life_days]),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.item_factors_, self.gramian_ = arrays["item_factors"], arrays["gramian"]
        self.held_back_ = float(arrays["held_back"][0])
        self.event_values_ = EventValues(self.config.values, float(arrays["half_life_days"][0]))


def _observed_error(users: Side, items: Side) -> float:
    """Mean of (1 - x y)^2 over observed pairs, or over SAMPLE of them that lie evenly in the log."""
    matrix = users.entries
    places = np.unique(np.linspace(0, max(matrix.nnz - 1, 0), SAMPLE).astype(np.int64))[: matrix.nnz]
    rows = np.searchsorted(matrix.indptr, places, side="right") - 1
    products = np.einsum("nd,nd->n", users.factors[rows], items.factors[matrix.indices[places]])
    return float(np.mean((1.0 - products) ** 2)) if len(products) else 0.0


def implied_weight(matrix: csr_array, reg: float, n_pairs: int) -> float:
    """The unobserved weight that goes with reg: mean c * 8 / (reg sqrt(n_pairs)), at most the mean c.

    A direction of the data survives the regularisation if its singular value exceeds sqrt(user reg * item reg), which
    on large sparse logs is near reg * weight * sqrt(users * items). The published optima for 117,000 x 20,000 and
    471,000 x 41,000 pairs lie near 15 and 6, while the weight itself falls from 0.1 to 0.02.
    """
    typical: float = matrix.data.mean().item() if matrix.nnz else 1.0
    return typical * min(TYPICAL_PRODUCT / (reg * math.sqrt(max(n_pairs, 1))), 1.0)


def _turn_to_own_axes(factors: NDArray[np.float32], others: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
    """Turns both sides, in place, so that the Gramian of `factors` is diagonal; (d,) that diagonal, times weight.

    Inner products between the sides stay what they were.
    """
    values, axes = np.linalg.eigh((factors.T @ factors).astype(np.float64))
    turn = axes.astype(np.float32)
    for side in (factors, others):
        for start in range(0, len(side), ROWS):
            side[start : start + ROWS] = side[start : start + ROWS] @ turn
    diagonal: NDArray[np.float32] = (weight * np.maximum(values, 0.0)).astype(np.float32)
    return diagonal


def _solved(system: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """The solution (m,) of a symmetric positive definite system (m, m)."""
    if not len(target):
        return target
    _, solution, failed = lapack.sposv(system.T, target)
    if failed:  # rounding of nearly parallel items; the least squares answer is still the one wanted
        return np.asarray(np.linalg.lstsq(system, target, rcond=None)[0], dtype=np.float32)
    return np.asarray(solution)
