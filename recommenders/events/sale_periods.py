"""From when until when each item of a catalogue is sold."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

ALWAYS = np.iinfo(np.int64)  # ALWAYS.min: sold since ever; ALWAYS.max: no end is known


class OnSale(NamedTuple):
    """The items on sale, (n_items,), at every moment from `since` until before `until`."""

    items: NDArray[np.bool_]
    since: int
    until: int


@dataclass(frozen=True, eq=False)
class SalePeriods:
    """Item i is sold from begins[i] until before ends[i]: (n_items,) microseconds since 1970, UTC."""

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    @cached_property
    def _changes(self) -> NDArray[np.int64]:
        """The moments, ascending, at which any item's sale begins or ends."""
        return np.unique(np.concatenate([self.begins, self.ends]))

    def at(self, moment: int) -> OnSale:
        """What is on sale at the moment, microseconds since 1970, UTC; and how long that holds."""
        after = int(np.searchsorted(self._changes, moment, side="right"))
        since = int(self._changes[after - 1]) if after else ALWAYS.min
        until = int(self._changes[after]) if after < len(self._changes) else ALWAYS.max
        return OnSale((self.begins <= moment) & (moment < self.ends), since, until)


def pack_periods(periods: SalePeriods | None) -> dict[str, NDArray[Any]]:
    """The dates as arrays of a bundle; none where none is known."""
    return {} if periods is None else {"sale.begins": periods.begins, "sale.ends": periods.ends}


def unpack_periods(arrays: Mapping[str, NDArray[Any]]) -> SalePeriods | None:
    """The inverse of pack_periods."""
    return SalePeriods(arrays["sale.begins"], arrays["sale.ends"]) if "sale.begins" in arrays else None
