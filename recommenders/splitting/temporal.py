"""Train, validation and test parts of a log, and the log a model may learn from (docs/protocols.md)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.events.item_states import items_as_of
from recommenders.events.sale_periods import ALWAYS, SalePeriods
from recommenders.storage import schema

PARTS = ("train", "validation", "test")


def split(interactions: pa.Table, protocol: Protocol) -> pa.Table:
    """The log with one more column, `part`: train, validation or test.

    time_cut: the cut is the last time stamp minus test_days; what lies after it is test, the test_days up to
    and including the cut are validation. latest_out: of each user with at least two events the latest is
    test, with at least three the one before is validation (so someone who is tested always has something to
    be known by); events of one moment are ordered by item id. Raises DataError if train or test would be
    empty.
    """
    if interactions.num_rows == 0:
        raise DataError("the log cannot be split: it holds no events; read a source with at least one kept row")
    parts = _time_cut(interactions, protocol.test_days) if protocol.split == "time_cut" else _latest_out(interactions)
    for name in ("train", "test"):
        if not (parts == PARTS.index(name)).any():
            raise DataError(_too_short(name, interactions, protocol))
    column = pa.array(np.array(PARTS)[parts], pa.string())
    return interactions.append_column(pa.field("part", pa.string(), nullable=False), column)


def _too_short(name: str, interactions: pa.Table, protocol: Protocol) -> str:
    if protocol.split == "latest_out":
        return f"the log cannot be split: {name} would be empty; latest_out needs a user with two events or more"
    times = _microseconds(interactions)
    days = (times.max() - times.min()) / timedelta(days=1).total_seconds() / 1e6
    return (
        f"the log cannot be cut: {name} would be empty; got {days:.1f} days of events, test and validation "
        f"take {2 * protocol.test_days}; bring a longer log or lower test_days"
    )


def _microseconds(interactions: pa.Table) -> NDArray[np.int64]:
    times: NDArray[np.int64] = interactions["timestamp"].cast(schema.TIME).cast(pa.int64()).to_numpy()
    return times


def _time_cut(interactions: pa.Table, test_days: int) -> NDArray[np.int64]:
    times = _microseconds(interactions)
    window = np.int64(test_days) * 86_400_000_000
    cut = times.max() - window
    parts: NDArray[np.int64] = (times > cut - window).astype(np.int64) + (times > cut)
    return parts


def _latest_out(interactions: pa.Table) -> NDArray[np.int64]:
    users = interactions["user_id"].to_numpy().astype(np.str_)
    items = interactions["item_id"].to_numpy().astype(np.str_)
    order = np.lexsort((items, _microseconds(interactions), users))
    users = users[order]
    last = np.append(users[1:] != users[:-1], True)
    first = np.roll(last, 1)
    # how many events the user has after, and before, each one
    places = np.arange(len(users))
    after = np.flatnonzero(last)[np.cumsum(first) - 1] - places
    before = places - np.flatnonzero(first)[np.cumsum(first) - 1]
    sorted_parts = np.select([(after == 0) & (before > 0), (after == 1) & (before > 0)], [2, 1], 0)
    parts = np.empty(len(users), dtype=np.int64)
    parts[order] = sorted_parts
    return parts


def cut_time(parts: pa.Table) -> datetime:
    """The moment up to which a model judged on test may look: the last time stamp of train and validation,
    UTC.

    Of a time cut that is the last event at or before the cut (last time stamp minus test_days): between the
    two nothing happened, so both name the same events. Of latest_out it is the last moment anything is
    learned from. Raises DataError if everything is test.
    """
    last = pc.max(parts.filter(pc.not_equal(parts["part"], "test"))["timestamp"].cast(schema.TIME)).as_py()
    if last is None:
        raise DataError("there is no event before the test part; split(...) the whole log first")
    return _utc(last)


def newest_window(interactions: pa.Table, days: int) -> tuple[pa.Table, pa.Table]:
    """The log before its last `days` days, and those days, whatever the data set's protocol holds out."""
    times = _microseconds(interactions)
    newest = times > times.max() - np.int64(days) * 86_400_000_000 if len(times) else np.zeros(0, dtype=np.bool_)
    return interactions.filter(pa.array(~newest)), interactions.filter(pa.array(newest))


def training_log(events: pa.Table, items: pa.Table, protocol: Protocol, as_of: datetime | None = None) -> Interactions:
    """The events as arrays, over every item that exists at `as_of` (by default the last event's time).

    The items are those of the log and those of the table, as it was then, launched by then. Where the protocol's
    candidates are on_sale, an unknown launch means always, and an item may be recommended if it is launched and not yet
    ended; where they are seen_before_cut, it may if it has an event. Whatever the protocol, `sale_periods` holds the
    items' dates of sale, for who serves: as they were at as_of, or, where that is left out, as they are now. Events
    after as_of are the caller's to leave out: a DataError if there are any.
    """
    if events.num_rows == 0:
        raise DataError("a training log needs events; got none; look at the split or at the quarantine")
    last = _utc(pc.max(events["timestamp"].cast(schema.TIME)).as_py())
    now = _utc(as_of) if as_of else max(last, datetime.now(UTC))
    as_of = _utc(as_of) if as_of else last
    if last > as_of:
        raise DataError(f"the training log reaches {last.isoformat()}, past as_of {as_of.isoformat()}; filter it first")
    newest = items_as_of(items, now)
    items = items_as_of(items, as_of) if as_of < now else newest
    launched, on_sale = _on_sale(items, as_of, unknown_is_launched=protocol.candidates == "on_sale")
    seen = np.unique(events["item_id"].to_numpy().astype(np.str_))
    known = items["item_id"].to_numpy().astype(np.str_)
    ids = IdMap(np.union1d(seen, known[launched]))
    available = np.isin(ids.ids, known[on_sale] if protocol.candidates == "on_sale" else seen)
    dated = protocol.split == "time_cut"
    horizon = float(protocol.test_days) if dated else None
    log = Interactions.from_table(events, ids, None, available, protocol.repeat, dated, horizon)
    return replace(log, sale_periods=_sale_periods(newest, ids))


def _on_sale(
    items: pa.Table, as_of: datetime, unknown_is_launched: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which items of the table are launched, and which of these not yet ended; each (n_items,)."""
    now = pa.scalar(as_of, schema.TIME)
    launched = pc.fill_null(pc.less_equal(items["available_from"], now), unknown_is_launched).to_numpy()
    ended = pc.fill_null(pc.less_equal(items["available_until"], now), False).to_numpy()
    return launched, launched & ~ended


def _sale_periods(items: pa.Table, ids: IdMap) -> SalePeriods | None:
    """When each item of the map is sold by the table, which has one row an item; None where it holds no date."""
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
    """The same moment in UTC; a time without a zone is taken as UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
