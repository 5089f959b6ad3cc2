"""The examples on which the rankers of hybrid_learned are trained."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Examples(NamedTuple):
    """Training examples, pairs of a user and an item: features (n, n_features), labels and example weights (n,)."""

    features: NDArray[np.float32]
    labels: NDArray[np.bool_]
    weights: NDArray[np.float64]
    known: NDArray[np.bool_]  # (n,) whether the user is treated as known (not as a cold-start user)
    new: NDArray[np.bool_]  # (n,) whether the user had no events before the window
    users: NDArray[np.int64]  # (n,) the number of the user within the window

    def select(self, mask: NDArray[np.bool_]) -> "Examples":
        """The examples of a mask (n,)."""
        return Examples(**{name: getattr(self, name)[mask] for name in self._fields})

    @classmethod
    def concatenate(cls, parts: "list[Examples]") -> "Examples":
        return cls(*(np.concatenate(field) for field in zip(*parts, strict=True)))
