"""Shares of events with a property: a healthy feed keeps them stable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.drift.feed.events import Codes, Flags
from monitoring.drift.verdict import prediction_limit
from monitoring.drift.windows import Window

# A share below a third of the smallest past share is a problem even if the past shares varied much, unless the smallest
# past share was below LARGE_DROP_MIN_SHARE.
LARGE_DROP, LARGE_DROP_MIN_SHARE = 1 / 3, 0.2
FEW_WINDOWS, FEW_WINDOWS_MARGIN = 3, 0.5  # the spread of fewer past windows is not reliable
MIN_EVENTS = 20  # least events (or ids) of a share

Shares = NDArray[np.float64]
Limits = Callable[[Shares, int, float], tuple[float, float]]


@dataclass(frozen=True, eq=False)
class FeedCheck:
    """A check of one property of single events.

    property_text: the property as text, to be followed by "in 5% of the events". has_property: whether each event of a
    window has it, (n_rows,). limits: from past shares, the number of the newest events and alpha to the lowest and
    highest share that is no problem. example: text for an event (row). counted: (n,) the events that are counted, None:
    all. ids: (n,) the ids that the share is about, if not single events; past windows with few ids are left out.
    once_per_id: count each id once. needs_history: the share is not defined at the begin of the log.
    """

    column: str
    property_text: str
    has_property: Callable[[Window], Flags]
    limits: Limits
    example: Callable[[int], str]
    counted: Flags | None = None
    ids: Codes | None = None
    once_per_id: bool = False
    needs_history: bool = False

    def share(self, window: Window) -> float:
        """Share of a window's counted events (or ids) that have the property; nan if too few are counted."""
        window = self._counted_rows(window)
        return float(self.has_property(window).mean()) if window.rows.size >= MIN_EVENTS else float("nan")

    def past_shares(self, past: Sequence[Window]) -> Shares:
        """The shares of those past windows (newest first) that can be compared with the newest one."""
        comparable = past[:-1] if self.needs_history else past
        shares = np.array([self.share(window) for window in comparable if self._has_ids(window)], np.float64)
        return np.extract(~np.isnan(shares), shares)

    def last_event(self, window: Window, hit: bool) -> int:
        """Row of the window's last event with the property (hit), or without it."""
        window = self._counted_rows(window)
        return int(window.rows[self.has_property(window) == hit].max())

    def _has_ids(self, window: Window) -> bool:
        return self.ids is None or np.unique(self.ids[window.rows]).size >= MIN_EVENTS

    def _counted_rows(self, window: Window) -> Window:
        rows = window.rows if self.counted is None else window.rows[self.counted[window.rows]]
        if self.once_per_id and self.ids is not None:
            rows = rows[np.unique(self.ids[rows], return_index=True)[1]]
        return Window(rows, window.start, window.end)


def healthy(shares: Shares, limits: Callable[[Shares], tuple[float, float]]) -> Shares:
    """The past shares (newest first) without the newest ones that were outside the limits themselves.

    A feed that is still broken must not set the limits. If more than half of the shares are outside, they are the new
    state.
    """
    for n_broken in range(shares.size // 2, 0, -1):
        low, high = limits(shares[n_broken:])
        is_healthy = (low <= shares) & (shares <= high)
        if is_healthy[n_broken] and not is_healthy[:n_broken].any():
            return shares[n_broken:]
    return shares


def share_limits(
    drop_margin: float | None, rise_margin: float | None, past: Shares, _n: int, alpha: float
) -> tuple[float, float]:
    """Lowest and highest share: the wider of the margins and the spread of the past windows; None: no limit."""
    low = 0.0 if drop_margin is None else 1 - upper_limit(1 - past, drop_margin, alpha)
    return low, 1.0 if rise_margin is None else upper_limit(past, rise_margin, alpha)


def upper_limit(past: Shares, margin: float, alpha: float) -> float:
    if past.size < FEW_WINDOWS:
        typical = float(past.max()) + FEW_WINDOWS_MARGIN
    else:
        typical = float(past.mean() + past.std(ddof=1) * prediction_limit(past.size, alpha))
    smallest = float((1 - past).min())
    large_drop_limit = 1 - LARGE_DROP * smallest if smallest >= LARGE_DROP_MIN_SHARE else np.inf
    return max(float(past.mean()) + margin, min(typical, large_drop_limit))
