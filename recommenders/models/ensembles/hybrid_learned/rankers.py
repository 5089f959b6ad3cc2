"""The two rankers of hybrid_learned: one for known users, one for cold-start users."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.models.ensembles.hybrid_learned.trees import BoostedTrees


class Rankers(NamedTuple):
    """New users buy other items than known users do, and base scores carry less information for them.

    With a single ranker, the examples of one group would dominate those of the other.
    """

    known: BoostedTrees
    cold_start: BoostedTrees

    def score(self, features: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(n,): log odds of user-item pairs. features: (n, n_features); known: (n,), whether the user is in the log."""
        if known.all() or not known.any():
            return (self.known if known.all() else self.cold_start).score(features)
        scores = np.empty(len(features), dtype=np.float32)
        for trees, some in ((self.known, known), (self.cold_start, ~known)):
            scores[some] = trees.score(features[some])
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays for a bundle."""
        return {f"{of}.{name}": array for of in self._fields for name, array in getattr(self, of).arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> "Rankers":
        """The inverse of arrays(). Raises KeyError if one is missing."""
        parts: list[dict[str, NDArray[Any]]] = [
            {name.removeprefix(f"{of}."): array for name, array in arrays.items() if name.startswith(f"{of}.")}
            for of in cls._fields
        ]
        return cls(*(BoostedTrees.from_arrays(part) for part in parts))
