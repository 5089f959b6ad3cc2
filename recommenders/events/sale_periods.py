"""Sale periods: from when until when each item of a catalogue is sold."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ALWAYS = np.iinfo(np.int64)  # ALWAYS.min: no known begin; ALWAYS.max: no known end


class OnSale(NamedTuple):
    """The items on sale, (n_items,), at every time t with since <= t < until."""

    items: NDArray[np.bool_]
    since: int
    until: int


@dataclass(frozen=True, eq=False)
class SalePeriods:
    """Item i is on sale at time t if begins[i] <= t < ends[i]; both (n_items,) microseconds since 1970, UTC."""

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    @cached_property
    def _changes(self) -> NDArray[np.int64]:
        """The times at which the sale of any item begins or ends, ascending."""
        return np.unique(np.concatenate([self.begins, self.ends]))

    def at(self, time: int) -> OnSale:
        """The items on sale at a time (microseconds since 1970, UTC), and the period in which they do not change."""
        after = int(np.searchsorted(self._changes, time, side="right"))
        since = int(self._changes[after - 1]) if after else ALWAYS.min
        until = int(self._changes[after]) if after < len(self._changes) else ALWAYS.max
        return OnSale((self.begins <= time) & (time < self.ends), since, until)


def pack_periods(periods: SalePeriods | None) -> dict[str, NDArray[Any]]:
    """The sale periods as arrays of a bundle; {} for None."""
    return {} if periods is None else {"sale.begins": periods.begins, "sale.ends": periods.ends}


def unpack_periods(arrays: Mapping[str, NDArray[Any]]) -> SalePeriods | None:
    """The inverse of pack_periods."""
    return SalePeriods(arrays["sale.begins"], arrays["sale.ends"]) if "sale.begins" in arrays else None
