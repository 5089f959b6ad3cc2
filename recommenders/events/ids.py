"""Maps external ids to matrix rows and back: `user_ids` are external ids, `user_rows` are matrix rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.storage.bundle import pack_strings, unpack_strings

STRINGS = ("bytes", "ends")  # the arrays of packed strings


@dataclass(frozen=True, eq=False)
class IdMap:
    """Sorted unique ids; the row of an id is its position.

    aliases: other ids -> the id whose row they have too: the items that an item succeeds.
    """

    ids: NDArray[np.str_]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_ids(cls, ids: Iterable[str]) -> "IdMap":
        """The map of all distinct ids."""
        return cls(np.unique(np.asarray(list(ids), dtype=np.str_)))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        rows = {id_: row for row, id_ in enumerate(self.ids.tolist())}
        return {alias: rows[id_] for alias, id_ in self.aliases.items() if id_ in rows} | rows

    def row(self, id_: str) -> int:
        """The row of one id or alias, -1 if it is unknown."""
        return self._row_of.get(id_, -1)

    def rows(self, ids: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int32]:
        """The rows of many ids or aliases, -1 where unknown; returns (len(ids),)."""
        queries = np.asarray(ids, dtype=np.str_)
        if not len(self.ids):
            return np.full(len(queries), -1, dtype=np.int32)
        places = np.searchsorted(self.ids, queries).clip(max=len(self.ids) - 1)
        found = np.where(self.ids[places] == queries, places, -1).astype(np.int32)
        if self.aliases:
            left = np.flatnonzero(found < 0)
            found[left] = [self._row_of.get(id_, -1) for id_ in queries[left].tolist()]
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The map as named arrays; those of aliases only if there are any."""
        found: dict[str, NDArray[Any]] = dict(pack_strings(self.ids))
        if self.aliases:
            pairs = sorted(self.aliases.items())
            for place, name in enumerate(("alias", "of")):
                texts = pack_strings(np.array([pair[place] for pair in pairs], dtype=np.str_))
                found |= {f"{name}.{part}": array for part, array in texts.items()}
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], prefix: str) -> "IdMap":
        """The inverse of arrays(), with a prefix before the names; other names are ignored."""

        def strings(name: str) -> NDArray[np.str_]:
            return unpack_strings({part: arrays[f"{prefix}{name}{part}"] for part in STRINGS})

        if f"{prefix}alias.ends" not in arrays:
            return cls(strings(""))
        return cls(strings(""), dict(zip(strings("alias.").tolist(), strings("of.").tolist(), strict=True)))
