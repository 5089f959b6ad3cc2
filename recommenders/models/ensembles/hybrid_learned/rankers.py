"""The two rankers of hybrid_learned: one for buyers of the log, one for strangers."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.models.ensembles.hybrid_learned.trees import BoostedTrees


class Rankers(NamedTuple):
    """Who comes for the first time wants other things than who is settled, and of whom less is known members say less.

    In one ranker either side's examples would drown the other's.
    """

    known: BoostedTrees
    strangers: BoostedTrees

    def score(self, features: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(n,) log odds of pairs by their features (n, n_features) and whether the log knows their buyers, (n,)."""
        if known.all() or not known.any():
            return (self.known if known.all() else self.strangers).score(features)
        scores = np.empty(len(features), dtype=np.float32)
        for trees, some in ((self.known, known), (self.strangers, ~known)):
            scores[some] = trees.score(features[some])
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For a bundle."""
        return {f"{of}.{name}": array for of in self._fields for name, array in getattr(self, of).arrays().items()}

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray[Any]]) -> "Rankers":
        """The inverse of arrays(). Raises KeyError if one is missing."""
        parts: list[dict[str, NDArray[Any]]] = [
            {name.removeprefix(f"{of}."): array for name, array in arrays.items() if name.startswith(f"{of}.")}
            for of in cls._fields
        ]
        return cls(*(BoostedTrees.of_arrays(part) for part in parts))
