"""Reference and current events as one log: past windows, numbers for values, and what was known of items and users."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from monitoring.drift.shift import Rows

MIN_WINDOW = 100  # events of a past window
MOST_WINDOWS = 20

Flags = NDArray[np.bool_]
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Window:
    """Rows of the log, (n_rows,), and its begin in seconds since 1970."""

    rows: Rows
    begin: float


class Events:
    """Reference and current events (schema INTERACTIONS) as one log of n events, reference first."""

    def __init__(self, reference: pa.Table, current: pa.Table) -> None:
        self.table = pa.concat_tables([reference, current])
        self.n_reference = reference.num_rows
        self.seconds = self.table["timestamp"].cast(pa.int64()).to_numpy() / 1e6
        self._factorized: dict[str, tuple[Codes, pd.Index]] = {}

    def windows(self) -> tuple[Window, list[Window]]:
        """The newest events, and past windows of that length (newest first), which ends where the reference ends."""
        past = self.seconds[: self.n_reference]
        length = max(float(self.seconds.max() - past.max()), 1.0)
        number = np.floor((past.max() - past) / length).astype(np.int64)
        found = []
        for block in range(min(int(np.ptp(past) / length), MOST_WINDOWS)):
            rows = np.flatnonzero(number == block)
            if rows.size >= MIN_WINDOW:
                found.append(Window(rows, float(past.max()) - (block + 1) * length))
        return Window(np.arange(self.n_reference, self.seconds.size), float(past.max())), found

    def factorized(self, name: str) -> tuple[Codes, pd.Index]:
        """(n,) one number a value of the column, -1 where it has none; and the values."""
        if name not in self._factorized:
            codes, values = pd.factorize(self.table[name].to_pandas())
            self._factorized[name] = np.asarray(codes, np.int64), pd.Index(values)
        return self._factorized[name]

    def codes(self, name: str) -> Codes:
        """(n,) one number a value of the column; -1 where it has none."""
        return self.factorized(name)[0]

    def value(self, name: str, row: int) -> Any:
        return self.table[name][row].as_py()

    def known(self, name: str) -> Flags:
        """(n,) whether each event has a value in the column."""
        return _known(self.table[name])

    def described(self, facts: pa.Table, key: str, names: tuple[str, ...]) -> dict[str, Flags]:
        """name -> (n,) whether the event's item or user (key) had that attribute at the event's time.

        The first state holds since ever: a catalogue that was begun later says nothing of earlier events.
        """
        codes, ids = self.factorized(key)
        code = ids.get_indexer(facts[key].to_pandas())
        begin = np.full(code.size, -np.inf)
        if "valid_from" in facts.column_names:
            given = facts["valid_from"].cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6
            begin = np.where(np.isnan(given), -np.inf, given)
        order = np.lexsort((begin, code))
        order = order[code[order] >= 0]
        code, begin = code[order], begin[order]
        begin[np.unique(code, return_index=True)[1]] = -np.inf
        # One sorted key of (item, time): the last state at or before each event.
        first, span = self.seconds.min() - 1, float(np.ptp(self.seconds)) + 2
        keys = code * span + np.clip(begin - first, 0, span - 1)
        state = np.searchsorted(keys, codes * span + (self.seconds - first), side="right") - 1
        found = (state >= 0) & (code[state] == codes) if code.size else np.zeros(codes.size, np.bool_)
        known = {name: _known(facts[name])[order] for name in names}
        return {name: found & has[state] if code.size else found for name, has in known.items()}

    def show(self, row: int) -> str:
        """An event in words."""
        event = self.table.slice(row, 1).to_pylist()[0]
        return f"for user {event['user_id']!r}, item {event['item_id']!r}, {event['timestamp']:%Y-%m-%d %H:%M}"


def _known(column: pa.ChunkedArray) -> Flags:
    return ~np.asarray(column.is_null(nan_is_null=True).to_numpy(), np.bool_)
