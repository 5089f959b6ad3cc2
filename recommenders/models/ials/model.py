"""iALS: user and item factors, fitted to the events and, with a low weight, to all pairs without events."""

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
from recommenders.models.event_weighting import EventWeighting, EventWeightingConfig, WeightedItems
from recommenders.models.recommender import BLOCK, Recommender, TrainingOptions
from recommenders.models.search_space import Choice, Range, SearchSpace

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

ROTATED_ROWS = 65_536  # rows of factors rotated at once
THREADS = 2
CHUNKS_PER_THREAD = 8  # of the rows: a thread that finishes early takes the next chunk
TYPICAL_PRODUCT = 8.0  # reg x unobserved_weight x sqrt(users x items); see implied_weight
ERROR_SAMPLE = 10_000  # observed pairs that the learning curve evaluates
MAX_CHEAP_FACTORS = 10_000_000  # numbers, 40 MB: about two milliseconds
INIT_STD = 0.1  # of an item factor times sqrt(embedding_dim): the typical length of the initial vectors


class IALSConfig(EventWeightingConfig):
    """Dimension of the factors, regularisation, and number of epochs."""

    embedding_dim: int = Field(default=128, ge=1, description="Number of factors of a user and of an item.")
    reg: float = Field(
        default=0.005,
        gt=0,
        description="Regularisation of the factors. It is multiplied by the summed weights of the user, or of the "
        "item, over all pairs.",
    )
    unobserved_weight: float | None = Field(
        default=None,
        gt=0,
        description="Weight of each pair of user and item, with or without events; null: derived from `reg` and the "
        "size of the log.",
    )
    epochs: int = Field(
        default=12, ge=1, description="Number of epochs. Each updates the factors of all users, then of all items."
    )
    solver_steps: int = Field(
        default=2,
        ge=1,
        description="Steps of conjugate gradients in each update. They start at the factors of the epoch before.",
    )

    search_space: ClassVar[SearchSpace] = {
        "embedding_dim": Choice(choices=(32, 64, 128, 256)),
        "reg": Range(low=0.0005, high=0.05, log=True),
        "epochs": Range(low=6, high=24),
        "n_half_lives": Range(low=0.5, high=16.0, log=True),
    }


class Side(NamedTuple):
    """The users, or the items, of the factorisation."""

    entries: csr_array  # (n, n_others) float32
    factors: NDArray[np.float32]  # (n, d)
    regs: NDArray[np.float32]  # (n,)
    bounds: list[tuple[int, int]]  # chunks of rows of about equal work


class IALS(Recommender):
    """iALS: minimises sum of c (1 - x y)^2 over the observed pairs + w (x y)^2 over all pairs + the regularisation.

    A row is regularised by reg * (sum of its c + w * number of the other side's rows). The factors of every user, known
    or cold-start, are computed on request, from the history alone. Hu et al. 2008; Rendle et al. 2022 (Revisiting the
    performance of iALS); Takács et al. 2011 (conjugate gradients), here on the principal axes of the Gramian, where it
    is diagonal.
    """

    name = "ials"
    Config = IALSConfig
    config: IALSConfig
    handles_new_users: ClassVar[bool] = True

    item_factors_: NDArray[np.float32]  # (n_items, d) on the principal axes of their Gramian; 0 for items without users
    gramian_: NDArray[np.float32]  # (d,) its diagonal, times the unobserved weight
    unobserved_weight_sum_: float  # unobserved weight x number of items with users; a part of the regularisation
    event_weighting_: EventWeighting

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: the factors of both sides, a rotated block of them, the entries by user and by item, scores."""
        size = 4.0 * min(self.config.embedding_dim, min(interactions.shape))
        factors = size * (sum(interactions.shape) + 2 * ROTATED_ROWS)
        return factors + 96.0 * len(interactions) + 12.0 * BLOCK * len(interactions.items)

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        self.event_weighting_ = EventWeighting.from_log(self.config, interactions)
        matrix = self.event_weighting_.log_matrix(interactions)
        used = [int(np.count_nonzero(np.bincount(rows))) for rows in matrix.nonzero()]  # users, items
        weight = self.config.unobserved_weight or implied_weight(matrix, self.config.reg, used[0] * used[1])
        threads = options.threads or THREADS
        users, items = self._sides(matrix, weight, used, threads)
        with ThreadPoolExecutor(threads) as pool:
            for epoch in range(self.config.epochs if matrix.nnz else 0):  # for an empty log, all factors stay 0
                self._update_side(users, items, weight, pool)
                self._update_side(items, users, weight, pool)
                if options.on_epoch and options.report(epoch, {"observed_error": _observed_error(users, items)}):
                    break
        self.gramian_ = _rotate_to_principal_axes(items.factors, users.factors, weight)
        self.item_factors_, self.unobserved_weight_sum_ = items.factors, weight * used[1]

    def _sides(self, matrix: csr_array, weight: float, used: list[int], threads: int) -> tuple[Side, Side]:
        """Users, whose factors start at 0, and items, whose factors start at small random values."""
        dim = self.config.embedding_dim
        rng = np.random.default_rng(self.config.seed)
        first = rng.standard_normal((matrix.shape[1], dim), dtype=np.float32) * np.float32(INIT_STD / dim**0.5)
        by_item = csr_array(matrix.T)
        first[np.diff(by_item.indptr) == 0] = 0.0
        origin = np.zeros((matrix.shape[0], dim), dtype=np.float32)
        return (
            self._side(matrix, origin, weight * used[1], threads),
            self._side(by_item, first, weight * used[0], threads),
        )

    def _side(
        self, entries: csr_array, factors: NDArray[np.float32], unobserved_weight_sum: float, threads: int
    ) -> Side:
        sums = np.asarray(entries.sum(axis=1), dtype=np.float64)
        regs = (self.config.reg * (sums + unobserved_weight_sum)).astype(np.float32)
        work = np.linspace(0, entries.nnz, threads * CHUNKS_PER_THREAD + 1)
        cuts = np.searchsorted(entries.indptr, work).clip(max=len(factors)).tolist()
        cuts[0], cuts[-1] = 0, len(factors)
        return Side(entries, factors, regs, list(pairwise(cuts)))

    def _update_side(self, updated: Side, fixed: Side, weight: float, pool: ThreadPoolExecutor) -> None:
        """Updates the factors of one side, in place."""
        from recommenders.models.ials.solver import solve_rows

        common = _rotate_to_principal_axes(fixed.factors, updated.factors, weight)
        entries = (updated.entries.indptr, updated.entries.indices, updated.entries.data)
        rest = (entries, fixed.factors, updated.factors, common, updated.regs, self.config.solver_steps)
        list(pool.map(lambda bounds: solve_rows(bounds, *rest), updated.bounds))

    @property
    def scores_catalogue_cheaply(self) -> bool:
        """Unless the item factors are so many that reading them for each user takes milliseconds."""
        return self.item_factors_.size <= MAX_CHEAP_FACTORS

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
        """(n, d): the factors of each user by the history, solved exactly."""
        if len(histories) == 1:
            return self._solve(self.event_weighting_.weighted_items(histories))[None]
        matrix = self.event_weighting_.history_matrix(histories)
        factors = np.zeros((len(histories), len(self.gramian_)), dtype=np.float32)
        for row, (start, stop) in enumerate(pairwise(matrix.indptr)):
            factors[row] = self._solve(WeightedItems(matrix.indices[start:stop], matrix.data[start:stop]))
        return factors

    def _solve(self, items: WeightedItems) -> NDArray[np.float32]:
        """(d,): the minimum for one user; a system of d unknowns, or of as many as there are items, if fewer."""
        vectors = self.item_factors_[items.item_columns]
        diagonal = self.gramian_ + np.float32(
            self.config.reg * (float(items.weights.sum()) + self.unobserved_weight_sum_)
        )
        if len(vectors) < len(diagonal):  # (D + Y'CY)^-1 Y'C 1 = D^-1 Y' (C^-1 + Y D^-1 Y')^-1 1
            weighted = vectors / diagonal
            system, target = vectors @ weighted.T, np.ones(len(vectors), dtype=np.float32)
            system.ravel()[:: len(vectors) + 1] += 1.0 / items.weights
        else:
            scaled = vectors * np.sqrt(items.weights)[:, None]
            system, target, weighted = scaled.T @ scaled, items.weights @ vectors, None
            system.ravel()[:: len(diagonal) + 1] += diagonal
        solution = _solve_system(system, target)
        result: NDArray[np.float32] = solution if weighted is None else solution @ weighted
        return result

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The item side; user factors are computed from it."""
        return {
            "item_factors": self.item_factors_,
            "gramian": self.gramian_,
            "unobserved_weight_sum": np.array([self.unobserved_weight_sum_]),
            "half_life_days": np.array([self.event_weighting_.half_life_days]),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.item_factors_, self.gramian_ = arrays["item_factors"], arrays["gramian"]
        self.unobserved_weight_sum_ = float(arrays["unobserved_weight_sum"][0])
        self.event_weighting_ = EventWeighting(self.config.values, float(arrays["half_life_days"][0]))


def _observed_error(users: Side, items: Side) -> float:
    """Mean of (1 - x y)^2 over the observed pairs, or over ERROR_SAMPLE of them, evenly spaced in the log."""
    matrix = users.entries
    entries = np.unique(np.linspace(0, max(matrix.nnz - 1, 0), ERROR_SAMPLE).astype(np.int64))[: matrix.nnz]
    rows = np.searchsorted(matrix.indptr, entries, side="right") - 1
    products = np.einsum("nd,nd->n", users.factors[rows], items.factors[matrix.indices[entries]])
    return float(np.mean((1.0 - products) ** 2)) if len(products) else 0.0


def implied_weight(matrix: csr_array, reg: float, n_pairs: int) -> float:
    """The unobserved weight that goes with reg: mean c * 8 / (reg sqrt(n_pairs)), at most the mean c.

    A direction of the data survives the regularisation if its singular value exceeds sqrt(user reg * item reg), which
    on large sparse logs is near reg * weight * sqrt(users * items). The published optima for 117,000 x 20,000 and
    471,000 x 41,000 pairs lie near 15 and 6, while the weight itself falls from 0.1 to 0.02.
    """
    typical: float = matrix.data.mean().item() if matrix.nnz else 1.0
    return typical * min(TYPICAL_PRODUCT / (reg * math.sqrt(max(n_pairs, 1))), 1.0)


def _rotate_to_principal_axes(
    factors: NDArray[np.float32], others: NDArray[np.float32], weight: float
) -> NDArray[np.float32]:
    """Rotates both sides, in place, so that the Gramian of `factors` is diagonal; (d,) that diagonal, times weight.

    The inner products between the sides do not change.
    """
    values, axes = np.linalg.eigh((factors.T @ factors).astype(np.float64))
    rotation = axes.astype(np.float32)
    for side in (factors, others):
        for start in range(0, len(side), ROTATED_ROWS):
            side[start : start + ROTATED_ROWS] = side[start : start + ROTATED_ROWS] @ rotation
    diagonal: NDArray[np.float32] = (weight * np.maximum(values, 0.0)).astype(np.float32)
    return diagonal


def _solve_system(system: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """The solution (m,) of a symmetric positive definite system (m, m)."""
    if not len(target):
        return target
    _, solution, failed = lapack.sposv(system.T, target, lower=1)  # faster than with the upper triangle
    if failed:  # rounding of nearly parallel items; then the least squares solution is the right one
        return np.asarray(np.linalg.lstsq(system, target, rcond=None)[0], dtype=np.float32)
    return np.asarray(solution)
