"""Splits a log by time into train, validation and test, and builds the training log (docs/protocols.md)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recommenders import clock
from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.events.item_states import aliases, items_as_of
from recommenders.events.sale_periods import ALWAYS, SalePeriods
from recommenders.storage import schema

PARTS = ("train", "validation", "test")


def split(interactions: pa.Table, protocol: Protocol) -> pa.Table:
    """The log with one more column, `part`: train, validation or test.

    time_cut: the cut is the last time stamp minus test_days. Events after the cut are test, events in the test_days
    up to and including the cut are validation. latest_out: the latest event of each user with at least two events is
    test; with at least three events, the event before it is validation. So every test user has at least one training
    event. Events with the same time stamp are ordered by item id. Raises DataError if train or test would be empty.
    """
    if interactions.num_rows == 0:
        raise DataError("the log cannot be split: it holds no events; read a source with at least one valid row")
    parts = _time_cut(interactions, protocol.test_days) if protocol.split == "time_cut" else _latest_out(interactions)
    for name in ("train", "test"):
        if not (parts == PARTS.index(name)).any():
            raise DataError(_too_short(name, interactions, protocol))
    column = pa.array(np.array(PARTS)[parts], pa.string())
    return interactions.append_column(pa.field("part", pa.string(), nullable=False), column)


def _too_short(name: str, interactions: pa.Table, protocol: Protocol) -> str:
    if protocol.split == "latest_out":
        return f"the log cannot be split: {name} would be empty; latest_out needs a user with two events or more"
    times = event_times(interactions)
    days = (times.max() - times.min()) / timedelta(days=1).total_seconds() / 1e6
    return (
        f"the log cannot be cut: {name} would be empty; got {days:.1f} days of events, test and validation "
        f"take {2 * protocol.test_days}; bring a longer log or lower test_days"
    )


def event_times(interactions: pa.Table) -> NDArray[np.int64]:
    """(n_events,) the times of the events, microseconds since 1970, UTC."""
    times: NDArray[np.int64] = interactions["timestamp"].cast(schema.TIME).cast(pa.int64()).to_numpy()
    return times


def _time_cut(interactions: pa.Table, test_days: int) -> NDArray[np.int64]:
    times = event_times(interactions)
    window = np.int64(test_days) * 86_400_000_000
    cut = times.max() - window
    parts: NDArray[np.int64] = (times > cut - window).astype(np.int64) + (times > cut)
    return parts


def _latest_out(interactions: pa.Table) -> NDArray[np.int64]:
    before, after = places_of_events(interactions)
    return np.select([(after == 0) & (before > 0), (after == 1) & (before > 0)], [2, 1], 0)


def places_of_events(interactions: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of events that the user has before each event, and after it; (n_events,) each.

    Events with the same time stamp are ordered by item id.
    """
    users = interactions["user_id"].to_numpy().astype(np.str_)
    items = interactions["item_id"].to_numpy().astype(np.str_)
    order = np.lexsort((items, event_times(interactions), users))
    users = users[order]
    last = np.append(users[1:] != users[:-1], True)
    first = np.roll(last, 1)
    places = np.arange(len(users))
    before, after = np.empty_like(places), np.empty_like(places)
    before[order] = places - np.flatnonzero(first)[np.cumsum(first) - 1]
    after[order] = np.flatnonzero(last)[np.cumsum(first) - 1] - places
    return before, after


def cut_time(parts: pa.Table) -> datetime:
    """The time up to which a model that is evaluated on test may use data: the last time stamp of train and validation.

    UTC. For time_cut it is the last event at or before the cut (last time stamp minus test_days). There is no event
    between the two, so both select the same events. For latest_out it is the time of the newest training event. Raises
    DataError if all events are test.
    """
    before = parts.filter(pc.not_equal(parts["part"], "test"))
    if not before.num_rows:
        raise DataError("there is no event before the test part; split(...) the whole log first")
    return last_time(before)


def last_time(events: pa.Table) -> datetime:
    """The time of the newest event, UTC. Raises DataError if there is none."""
    last = pc.max(events["timestamp"].cast(schema.TIME)).as_py()
    if last is None:
        raise DataError("the last time needs events; got none; check the split and the quarantine")
    return _utc(last)


def newest_window(interactions: pa.Table, days: int) -> tuple[pa.Table, pa.Table]:
    """The log before its last `days` days, and the log of those days. It does not depend on the data set's protocol."""
    times = event_times(interactions)
    newest = times > times.max() - np.int64(days) * 86_400_000_000 if len(times) else np.zeros(0, dtype=np.bool_)
    return interactions.filter(pa.array(~newest)), interactions.filter(pa.array(newest))


def training_log(events: pa.Table, items: pa.Table, protocol: Protocol, as_of: datetime | None = None) -> Interactions:
    """The events as arrays, over every item that exists at `as_of` (default: the time of the last event).

    The items are those of the log, and those of the item table as of `as_of` that are launched by then. If the
    protocol's candidates are on_sale, an item without a launch date counts as launched, and the available items are
    those that are launched and not ended. If they are seen_before_cut, the available items are those with an event.
    The ids of items that another one succeeds are aliases of it. With every protocol `sale_periods` holds the items'
    sale dates, which serving needs: as of as_of, or as of now if as_of is not given. The caller filters events after
    as_of; raises DataError if there are any.
    """
    if events.num_rows == 0:
        raise DataError("a training log needs events; got none; check the split and the quarantine")
    last = last_time(events)
    now = _utc(as_of) if as_of else max(last, clock.now())
    as_of = _utc(as_of) if as_of else last
    if last > as_of:
        raise DataError(f"the training log reaches {last.isoformat()}, past as_of {as_of.isoformat()}; filter it first")
    newest = items_as_of(items, now)
    items = items_as_of(items, as_of) if as_of < now else newest
    launched, on_sale = _on_sale(items, as_of, unknown_is_launched=protocol.candidates == "on_sale")
    seen = np.unique(events["item_id"].to_numpy().astype(np.str_))
    known = items["item_id"].to_numpy().astype(np.str_)
    ids = IdMap(np.union1d(seen, known[launched]), aliases(newest))
    available = np.isin(ids.ids, known[on_sale] if protocol.candidates == "on_sale" else seen)
    dated = protocol.split == "time_cut"
    horizon = float(protocol.test_days) if dated else None
    log = Interactions.from_table(events, ids, None, available, protocol.repeat, dated, horizon)
    return replace(log, sale_periods=_sale_periods(newest, ids))


def _on_sale(
    items: pa.Table, as_of: datetime, unknown_is_launched: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which items of the table are launched, and which are launched and not ended; each (n_items,)."""
    now = pa.scalar(as_of, schema.TIME)
    launched = pc.fill_null(pc.less_equal(items["available_from"], now), unknown_is_launched).to_numpy()
    ended = pc.fill_null(pc.less_equal(items["available_until"], now), False).to_numpy()
    return launched, launched & ~ended


def _sale_periods(items: pa.Table, ids: IdMap) -> SalePeriods | None:
    """The sale period of each item of the map. The table has one row per item. None if the table holds no date."""
    if all(items[name].null_count == items.num_rows for name in ("available_from", "available_until")):
        return None
    columns = ids.rows(items["item_id"].to_numpy().astype(np.str_))
    dates = []
    for name, unknown in (("available_from", ALWAYS.min), ("available_until", ALWAYS.max)):
        given = pc.fill_null(items[name].cast(schema.TIME).cast(pa.int64()), unknown).to_numpy()
        dates.append(np.full(len(ids), unknown, dtype=np.int64))
        dates[-1][columns[columns >= 0]] = given[columns >= 0]
    return SalePeriods(*dates)


def _utc(time: datetime) -> datetime:
    """The same time in UTC; a time without a zone counts as UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
