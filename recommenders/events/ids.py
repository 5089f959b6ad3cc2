"""Maps external ids to matrix rows and back: `user_ids` are external ids, `user_rows` are matrix rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class IdMap:
    """Sorted unique ids; the row of an id is its position."""

    ids: NDArray[np.str_]

    @classmethod
    def from_ids(cls, ids: Iterable[str]) -> "IdMap":
        """The map of all distinct ids."""
        return cls(np.unique(np.asarray(list(ids), dtype=np.str_)))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {id_: row for row, id_ in enumerate(self.ids.tolist())}

    def row(self, id_: str) -> int:
        """The row of one id, -1 if it is unknown."""
        return self._row_of.get(id_, -1)

    def rows(self, ids: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int32]:
        """The rows of many ids, -1 where unknown; returns (len(ids),)."""
        queries = np.asarray(ids, dtype=np.str_)
        if not len(self.ids):
            return np.full(len(queries), -1, dtype=np.int32)
        places = np.searchsorted(self.ids, queries).clip(max=len(self.ids) - 1)
        return np.where(self.ids[places] == queries, places, -1).astype(np.int32)
