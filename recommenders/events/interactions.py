"""The interaction log as arrays: the training data of models."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.events.histories import DAY, Histories
from recommenders.events.ids import IdMap
from recommenders.events.sale_periods import SalePeriods, pack_periods, unpack_periods
from recommenders.storage import bundle
from recommenders.storage.bundle import Bundle

if TYPE_CHECKING:
    import pyarrow as pa

_ARRAYS = ("user_rows", "item_columns", "timestamps", "weights", "strengths", "available")


@dataclass(frozen=True, eq=False)
class Interactions:
    """Events in time order. All arrays are (n_events,); rows point into `users`, columns into `items`.

    `items` may hold items without events. `strengths` are ratings where the log has them, else log(1 + quantity).
    `available` (n_items,) is true for items that may be recommended at the end of the log. `repeat` is true if users
    consume known items again; if it is false, lists exclude known items.
    `dated` is true if the age of an event at prediction time is known, as after a time cut. It is false if each user's
    latest event is held out or if time stamps are only numbers: then only the order of each user's events is known.
    `horizon_days` is the length of the window after the newest event that models predict; None: the next event.
    `sale_periods` holds the items' sale dates, if any is known. Serving excludes items that are not on sale at request
    time. Evaluation and training use `available` only.
    """

    users: IdMap
    items: IdMap
    user_rows: NDArray[np.int32]
    item_columns: NDArray[np.int32]
    timestamps: NDArray[np.int64]  # microseconds since 1970, UTC
    weights: NDArray[np.float32]
    strengths: NDArray[np.float32]
    available: NDArray[np.bool_]
    repeat: bool
    dated: bool = True
    horizon_days: float | None = None
    version: str = ""  # of the data set of the log, if it has one
    sale_periods: SalePeriods | None = None

    @classmethod
    def from_table(
        cls,
        table: "pa.Table",
        items: IdMap | None = None,
        users: IdMap | None = None,
        available: NDArray[np.bool_] | None = None,
        repeat: bool = True,
        dated: bool = True,
        horizon_days: float | None = None,
    ) -> "Interactions":
        """The log of a table in schema.INTERACTIONS. Events with a user or item that a given map lacks are left out.

        Without `available` every item may be recommended. The result does not depend on the order of the table's rows
        (event_order).
        """
        user_ids = table["user_id"].to_numpy().astype(np.str_)
        item_ids = table["item_id"].to_numpy().astype(np.str_)
        users = users or IdMap(np.unique(user_ids))
        items = items or IdMap(np.unique(item_ids))
        user_rows, item_columns = users.rows(user_ids), items.rows(item_ids)
        times = table["timestamp"].to_numpy().astype("datetime64[us]").astype(np.int64)
        weights, strengths = table["weight"].to_numpy().astype(np.float32), _strengths(table)
        order = event_order(times, user_rows, item_columns, weights, strengths)
        kept = order[(user_rows[order] >= 0) & (item_columns[order] >= 0)]
        return cls(
            users,
            items,
            user_rows[kept],
            item_columns[kept],
            times[kept],
            weights[kept],
            strengths[kept],
            np.ones(len(items), dtype=np.bool_) if available is None else available,
            repeat,
            dated,
            horizon_days,
        )

    def __len__(self) -> int:
        return len(self.user_rows)

    @property
    def last_event(self) -> datetime:
        """The time of the newest event, UTC. A model that is fitted on this log computes ages from it."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(self.timestamps.max()))

    @property
    def shape(self) -> tuple[int, int]:
        """(n_users, n_items)."""
        return len(self.users), len(self.items)

    def ages(self) -> NDArray[np.float64]:
        """(n_events,) days before the newest event; all 0 if the log is not dated."""
        if not self.dated or not len(self):
            return np.zeros(len(self))
        return np.asarray((self.timestamps.max() - self.timestamps) / DAY)

    def histories(self) -> Histories:
        """The log by user: (n_users, n_items), each user's events in time order."""
        n, events = len(self), np.arange(len(self), dtype=np.int32)
        by_user = csr_array((np.ones(n, np.int8), (self.user_rows, events)), shape=(len(self.users), n))
        order = by_user.indices  # a stable sort by counting
        if (np.diff(self.timestamps) < 0).any():
            order = np.lexsort((self.timestamps, self.user_rows))
        counts = np.bincount(self.user_rows, minlength=len(self.users))
        return Histories(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            self.item_columns[order],
            self.timestamps[order],
            self.weights[order],
            len(self.items),
        )

    def matrix(self, values: Literal["weight", "binary", "strength"] = "weight") -> csr_array:
        """(n_users, n_items) float32: summed weights, ones, or the mean strength of each pair."""
        data = self.strengths if values == "strength" else self.weights
        matrix = csr_array((data, (self.user_rows, self.item_columns)), shape=self.shape, dtype=np.float32)
        matrix.sum_duplicates()
        if values == "binary":
            matrix.data[:] = 1.0
        elif values == "strength":
            counts = csr_array((np.ones_like(data), (self.user_rows, self.item_columns)), shape=self.shape)
            counts.sum_duplicates()
            matrix.data /= counts.data
        return matrix

    def save(self, folder: Path) -> Path:
        """Writes the log as a bundle; returns the folder."""
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _ARRAYS}
        for axis, ids in (("users", self.users), ("items", self.items)):
            arrays |= {f"{axis}.{part}": array for part, array in ids.arrays().items()}
        arrays |= pack_periods(self.sale_periods)
        facts = {"repeat": self.repeat, "dated": self.dated, "horizon_days": self.horizon_days}
        return bundle.write(folder, Bundle("interactions", {**facts, "version": self.version}, arrays))

    @classmethod
    def load(cls, folder: Path) -> "Interactions":
        """The log that save() wrote. Raises BundleError."""
        content = bundle.read(folder)
        users, items = (IdMap.from_arrays(content.arrays, f"{axis}.") for axis in ("users", "items"))
        arrays = {name: content.arrays[name] for name in _ARRAYS}
        facts: dict[str, Any] = {**arrays, **content.config}
        periods = unpack_periods(content.arrays)
        return cls(users=users, items=items, sale_periods=periods, **facts)

    def select(self, mask: NDArray[np.bool_]) -> "Interactions":
        """The events where the mask is true, under the same id maps."""
        return replace(
            self,
            user_rows=self.user_rows[mask],
            item_columns=self.item_columns[mask],
            timestamps=self.timestamps[mask],
            weights=self.weights[mask],
            strengths=self.strengths[mask],
        )


def event_order(
    times: NDArray[np.int64],
    user_rows: NDArray[np.int32],
    item_columns: NDArray[np.int32],
    weights: NDArray[np.float32],
    strengths: NDArray[np.float32],
) -> NDArray[np.int64]:
    """The order of events, (n_events,): by time, then by user id, item id, weight and strength.

    Events with the same time stamp have no order of their own. This order depends on the values of the events only, and
    not on their rows in the table. Only events that are equal in all five values may swap places.
    """
    return np.lexsort((strengths, weights, item_columns, user_rows, times))


def _strengths(table: "pa.Table") -> NDArray[np.float32]:
    ratings = table["rating"].to_numpy().astype(np.float64)
    quantities = table["quantity"].to_numpy().astype(np.float64)
    fallback = np.log1p(np.nan_to_num(quantities, nan=1.0).clip(min=0.0))
    strengths: NDArray[np.float32] = np.where(np.isnan(ratings), fallback, ratings).astype(np.float32)
    return strengths
