"""What NeuMF learns from: pairs with their weights, items a buyer does not know, and the factors to start from."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from recommenders.datasets.interactions import Interactions
from recommenders.models.neural_collaborative import NeuralCollaborativeConfig

REJECTIONS = 8  # times a drawn negative that the buyer knows is drawn again; what is left then does not teach
OLDEST = 0.2  # weight of a pair whose events are long past, beside 1 for an event of today
DEGREE_POWER = -0.25  # busy buyers and items are damped by their count to this power before they are factored
OVERSAMPLING, POWER_ITERATIONS = 10, 6  # of the randomised factorisation


class Sampler:
    """Draws an epoch at a time: every known pair once, in a new order, each with items its buyer does not know.

    Negatives come with a probability q of (1 + buyers)^negative_power: well-known items that a buyer left alone teach
    more than obscure ones. `correction` (n_items,), log q around its mean, undoes the shift this gives to the logits.
    Mikolov et al. 2013; Yi et al. 2019.
    """

    def __init__(self, log: Interactions, config: NeuralCollaborativeConfig, rng: np.random.Generator) -> None:
        self.rng, self.negatives, self.n_items = rng, config.negatives, len(log.items)
        pairs = csr_array((_event_weights(log, config), (log.user_rows, log.item_columns)), shape=log.shape)
        pairs.sum_duplicates()
        self.users = np.repeat(np.arange(log.shape[0], dtype=np.int64), np.diff(pairs.indptr))
        self.items = pairs.indices.astype(np.int64)
        weights = pairs.data + OLDEST
        self.weights = np.ones(len(weights)) if config.half_life_share is None else weights / weights.mean()
        self.keys = self.users * self.n_items + self.items  # ascending: rows, then columns
        chances = (1.0 + np.bincount(self.items, minlength=self.n_items)) ** config.negative_power
        self.cumulated = np.cumsum(chances / chances.sum())
        self.correction = (np.log(chances) - np.log(chances).mean()).astype(np.float32)

    def draw(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """users (n,), items (n, 1 + negatives) positive first, weights of that shape, 0 where no negative was found."""
        order = self.rng.permutation(len(self.users))
        users = self.users[order]
        drawn = self._negatives((len(users), self.negatives))
        known = self._known(users[:, None], drawn)
        for _ in range(REJECTIONS):
            rows, places = np.nonzero(known)
            if not len(rows):
                break
            drawn[rows, places] = again = self._negatives((len(rows),))
            known[rows, places] = self._known(users[rows], again)
        items = np.concatenate([self.items[order][:, None], drawn], axis=1)
        weights = np.concatenate([self.weights[order][:, None], ~known], axis=1).astype(np.float32)
        return users, items, weights

    def _negatives(self, shape: tuple[int, ...]) -> NDArray[np.int64]:
        return np.searchsorted(self.cumulated, self.rng.random(shape)).clip(max=self.n_items - 1)

    def _known(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.bool_]:
        wanted = users * self.n_items + items
        places = np.searchsorted(self.keys, wanted).clip(max=max(len(self.keys) - 1, 0))
        return np.asarray(self.keys[places] == wanted)


def _event_weights(log: Interactions, config: NeuralCollaborativeConfig) -> NDArray[np.float64]:
    """(n_events,): 1 for the newest event, halved every half_life_share of the span back to the oldest."""
    ages = (log.timestamps.max(initial=0) - log.timestamps).astype(np.float64)
    if config.half_life_share is None or not ages.any():
        return np.ones(len(log))
    return np.asarray(np.exp2(-ages / (config.half_life_share * ages.max())))


def factors(log: Interactions, size: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The leading singular vectors of the log counts, degrees damped: (n_users, n) and (n_items, n), each of spread 1.

    n is `size`, or less where the matrix is smaller. Halko, Martinsson & Tropp 2011, so that no iteration can fail.
    """
    counts = log.matrix().astype(np.float64).log1p()
    by_user, by_item = (_damping(counts.sum(axis=axis)) for axis in (1, 0))
    damped = csr_array(diags_array(by_user) @ counts @ diags_array(by_item))
    width = min(size + OVERSAMPLING, *damped.shape)
    basis = damped @ rng.normal(size=(damped.shape[1], width))
    for _ in range(POWER_ITERATIONS):
        basis = damped @ (damped.T @ np.linalg.qr(basis)[0])
    basis = np.linalg.qr(basis)[0]
    left, values, right = np.linalg.svd((damped.T @ basis).T, full_matrices=False)
    size = min(size, len(values))
    roots = np.sqrt(values[:size])
    return _spread((basis @ left)[:, :size] * roots), _spread(right[:size].T * roots)


def _damping(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(degrees > 0, np.maximum(degrees, 1e-9) ** DEGREE_POWER, 0.0)


def _spread(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    spread = vectors.std() if vectors.size else 0.0
    return (vectors / (spread if spread > 0 else 1.0)).astype(np.float32)
