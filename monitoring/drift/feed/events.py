"""Reference and current events as one log: its windows, integer codes of its values, and known attributes over time."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from monitoring.drift.windows import DAY, Window, aligned_windows, event_seconds

MIN_WINDOW = 100  # least number of events of a past window
MAX_WINDOWS = 20  # the newest ones

Flags = NDArray[np.bool_]
Codes = NDArray[np.int64]


class Events:
    """Reference and current events (schema INTERACTIONS) as one log of n events, reference first."""

    def __init__(self, reference: pa.Table, current: pa.Table) -> None:
        self.table = pa.concat_tables([reference, current])
        self.n_reference = reference.num_rows
        self.seconds = event_seconds(self.table)
        self._factorized: dict[str, tuple[Codes, pd.Index]] = {}

    def windows(self, days: float) -> tuple[Window, list[Window]]:
        """The window of the current events, and the past windows of `days` days, newest first.

        Past windows begin whole weeks earlier. Windows with fewer than MIN_WINDOW events are left out.
        """
        *past, newest = aligned_windows(self.seconds, days * DAY)
        known = [window for window in reversed(past) if window.rows.size >= MIN_WINDOW]
        rows = np.arange(self.n_reference, self.seconds.size)
        return Window(rows, newest.start, newest.end), known[:MAX_WINDOWS]

    def factorized(self, name: str) -> tuple[Codes, pd.Index]:
        """(n,) integer codes of the column's values, -1 where it has none; and the values."""
        if name not in self._factorized:
            codes, values = pd.factorize(self.table[name].to_pandas())
            self._factorized[name] = np.asarray(codes, np.int64), pd.Index(values)
        return self._factorized[name]

    def codes(self, name: str) -> Codes:
        """(n,) integer codes of the column's values; -1 where it has none."""
        return self.factorized(name)[0]

    def value(self, name: str, row: int) -> Any:
        return self.table[name][row].as_py()

    def has_value(self, name: str) -> Flags:
        """(n,) whether each event has a value in the column."""
        return _has_value(self.table[name])

    def has_attributes(self, attributes: pa.Table, key: str, names: tuple[str, ...]) -> dict[str, Flags]:
        """name -> (n,) whether the event's item or user (key) had a value of that attribute at the time of the event.

        The first state of each item or user is also used for earlier events, because the catalogue may be younger than
        the log.
        """
        codes, ids = self.factorized(key)
        code = ids.get_indexer(attributes[key].to_pandas())
        start = np.full(code.size, -np.inf)
        if "valid_from" in attributes.column_names:
            valid_from_seconds = attributes["valid_from"].cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6
            start = np.where(np.isnan(valid_from_seconds), -np.inf, valid_from_seconds)
        order = np.lexsort((start, code))
        order = order[code[order] >= 0]
        code, start = code[order], start[order]
        start[np.unique(code, return_index=True)[1]] = -np.inf
        # One sorted key of (item, time) finds the last state at or before each event.
        first, span = self.seconds.min() - 1, float(np.ptp(self.seconds)) + 2
        keys = code * span + np.clip(start - first, 0, span - 1)
        state = np.searchsorted(keys, codes * span + (self.seconds - first), side="right") - 1
        has_state = (state >= 0) & (code[state] == codes) if code.size else np.zeros(codes.size, np.bool_)
        has_value = {name: _has_value(attributes[name])[order] for name in names}
        return {name: has_state & known[state] if code.size else has_state for name, known in has_value.items()}

    def describe_event(self, row: int) -> str:
        """Text for a report: user, item and time of an event."""
        event = self.table.slice(row, 1).to_pylist()[0]
        return f"user {event['user_id']!r}, item {event['item_id']!r}, {event['timestamp']:%Y-%m-%d %H:%M}"


def _has_value(column: pa.ChunkedArray) -> Flags:
    return ~np.asarray(column.is_null(nan_is_null=True).to_numpy(), np.bool_)
