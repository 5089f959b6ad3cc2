"""Is the newest data broken? Lost values, ids that match nothing, constant values, lost hours, repeated rows.

A market moves the shares that signs.py counts slowly; an export that changed moves them at once and far.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from monitoring.drift.events import Events, Window
from monitoring.drift.signs import Sign, signs

ALARM_RATE = 0.01  # false alarms a window, over all signs; the margins of the signs come on top


@dataclass(frozen=True)
class FeedFault:
    """One column of a broken feed.

    before, now: share of events, mean of past windows and newest window. limit: the share that `now` passed.
    text: the same in words, with one example.
    """

    column: str
    before: float
    now: float
    limit: float
    text: str


def feed_faults(
    reference: pa.Table,
    current: pa.Table,
    items: pa.Table,
    users: pa.Table | None = None,
    earlier_items: pa.Table | None = None,
) -> tuple[FeedFault, ...]:
    """What looks broken in the newest events (current), at most one fault a column.

    reference, current: schema INTERACTIONS. items: schema ITEMS, every state. earlier_items: the catalogue as it was
    read before, in which a column may have had values that all of its rows have lost since; by default `items`.
    Without a past window to compare with, there is no fault.
    """
    if not reference.num_rows or not current.num_rows:
        return ()
    log = Events(reference, current)
    every = signs(log, items, users, items if earlier_items is None else earlier_items)
    newest, past = log.windows()
    faults: dict[str, FeedFault] = {}
    for sign in every:
        if sign.column not in faults and (fault := _judge(sign, newest, past, ALARM_RATE / len(every))):
            faults[sign.column] = fault
    return tuple(faults.values())


def describe(faults: Sequence[FeedFault], most: int = 4) -> str:
    """The faults in one sentence, "" if there are none."""
    rest = f"; and {len(faults) - most} more" if len(faults) > most else ""
    return "; ".join(fault.text for fault in faults[:most]) + rest


def _judge(sign: Sign, newest: Window, past: Sequence[Window], alpha: float) -> FeedFault | None:
    shares, now = sign.past_shares(past), sign.share(newest)
    if not shares.size or np.isnan(now):
        return None
    low, high = sign.limits(shares, newest.rows.size, alpha)
    if low <= now <= high:
        return None
    before, rose = float(shares.mean()), now > high
    example = f"{'such as' if rose else 'not'} {sign.example(sign.last(newest, rose))}"
    what = "ids" if sign.once else "events"
    text = f"{sign.column} {sign.says} in {now:.0%} of the newest {what}, {before:.0%} before ({example})"
    return FeedFault(sign.column, before, now, high if rose else low, text)
