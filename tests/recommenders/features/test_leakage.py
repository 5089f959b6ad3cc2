"""No feature uses rows after the cut: random logs, cut at random times."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recommenders.datasets.spec import Protocol
from recommenders.events.interactions import Interactions
from recommenders.features.leakage import differences, events_until, items_until
from recommenders.features.tables import item_features, pair_features, user_features
from recommenders.splitting.temporal import training_log
from recommenders.storage import schema

START = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = st.integers(0, 24 * 120)  # few enough that times coincide
USER, ITEM = st.sampled_from(["u1", "u2", "u3"]), st.sampled_from(["a", "b", "c", "d"])
ON_SALE, SEEN = (Protocol(split="time_cut", test_days=20, candidates=name) for name in ("on_sale", "seen_before_cut"))


def moment(hours: int) -> datetime:
    return START + timedelta(hours=hours)


def maybe_moment() -> st.SearchStrategy[datetime | None]:
    return st.none() | HOURS.map(moment)


EVENT = st.fixed_dictionaries(
    {
        "user_id": USER,
        "item_id": ITEM,
        "timestamp": HOURS.map(moment),
        "event": st.sampled_from(["purchase", "view"]),
        "weight": st.integers(1, 3).map(float),
        "quantity": st.none() | st.integers(1, 9).map(float),
        "returned_quantity": st.none() | st.just(1.0),
        "returned_at": maybe_moment(),
    }
)
STATE = st.fixed_dictionaries(
    {
        "item_id": ITEM,
        "valid_from": maybe_moment(),
        "category": st.none() | st.sampled_from(["x", "y"]),
        "price": st.none() | st.integers(1, 5).map(float),
        "available_from": maybe_moment(),
        "available_until": maybe_moment(),
    }
)


def table(rows: list[dict[str, Any]], table_schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict.fromkeys(table_schema.names) | row for row in rows], table_schema)


LOG = st.lists(EVENT, min_size=1, max_size=25).map(lambda rows: table(rows, schema.INTERACTIONS))
ITEMS = st.lists(STATE, max_size=10, unique_by=lambda row: (row["item_id"], row["valid_from"])).map(
    lambda rows: table(rows, schema.ITEMS)
)
LATER = st.lists(  # an event after the cut, perhaps of an item or a user that was not there before
    st.tuples(st.sampled_from(["a", "aa", "z"]), st.sampled_from(["u1", "u0"]), st.integers(1, 10**12)),
    max_size=4,
)
USERS = table([{"user_id": u, "segment": u.upper()} for u in ("u0", "u1", "u2")], schema.USERS)


def with_later(
    log: pa.Table, items: pa.Table, now: datetime, later: list[tuple[str, str, int]], dated: bool
) -> tuple[pa.Table, pa.Table]:
    """The tables as read later: with later events, and with a row for each item that only they have."""
    times = [now + timedelta(microseconds=gap) for _, _, gap in later]
    sales = [
        {"user_id": user, "item_id": item, "timestamp": time, "event": "view", "weight": 1.0}
        for (item, user, _), time in zip(later, times, strict=True)
    ]
    launches = {item: time for (item, _, _), time in zip(later, times, strict=True) if item != "a"}
    rows = [{"item_id": i, "category": "x", "available_from": t if dated else None} for i, t in launches.items()]
    return (
        pa.concat_tables([log, table(sales, schema.INTERACTIONS)]),
        pa.concat_tables([items, table(rows, schema.ITEMS)]),
    )


def tables_of(log: Interactions, items: pa.Table) -> list[pa.Table]:
    pairs = pair_features(log, items, np.arange(len(log.users)))
    return [item_features(log, items), user_features(log, USERS), pairs]


@settings(max_examples=25)
@given(LOG, ITEMS, HOURS, LATER, st.sampled_from([ON_SALE, SEEN]))
def test_features_as_of_a_cut_do_not_change_when_later_rows_do(
    log: pa.Table, items: pa.Table, hours: int, later: list[tuple[str, str, int]], protocol: Protocol
) -> None:
    now, on_sale = moment(hours), protocol.candidates == "on_sale"
    known = events_until(log, now)
    assume(known.num_rows)
    described = items_until(items, log, now, undated_are_known=on_sale)
    # with candidates on sale an item without a launch counts as launched at any time
    log, items = with_later(log, items, now, later, dated=on_sale)
    assert events_until(log, now).equals(known)
    assert items_until(items, log, now, undated_are_known=on_sale).equals(described)
    before = log.filter(pa.array([time <= now for time in log["timestamp"].to_pylist()]))
    found = tables_of(training_log(before, items, protocol, now), items)
    expected = tables_of(training_log(known, described, protocol, now), described)
    for one, other in zip(found, expected, strict=True):
        assert differences(one, other) == []


def test_returns_after_the_cut_are_cut_from_earlier_events() -> None:
    sale = {"user_id": "u1", "item_id": "a", "event": "x", "weight": 1.0, "returned_quantity": 1.0}
    rows = [{**sale, "timestamp": moment(h), "returned_at": moment(back)} for h, back in ((1, 2), (1, 3), (3, 9))]
    cut = events_until(table(rows, schema.INTERACTIONS), moment(2))
    assert cut["timestamp"].to_pylist() == [moment(1)] * 2
    assert cut["returned_at"].to_pylist() == [moment(2), None]
    assert cut["returned_quantity"].to_pylist() == [1.0, None]


def test_an_undated_item_is_known_from_its_first_event_or_its_dates_on() -> None:
    now = moment(10)
    sale = {"user_id": "u1", "event": "x", "weight": 1.0}
    log = table(
        [{**sale, "item_id": i, "timestamp": moment(h)} for i, h in (("at", 10), ("after", 11))], schema.INTERACTIONS
    )
    rows = [
        {"item_id": "at"},
        {"item_id": "after"},
        {"item_id": "never"},
        {"item_id": "launched", "available_from": now},
        {"item_id": "unlaunched", "available_from": moment(11)},
        {"item_id": "written", "valid_from": now},
        {"item_id": "unwritten", "valid_from": moment(11)},
        {"item_id": "rewritten", "available_from": moment(11)},
        {"item_id": "rewritten", "valid_from": now},  # its oldest row is older
    ]
    items = table(rows, schema.ITEMS)
    known = ["at", "launched", "written", "rewritten", "rewritten"]
    assert items_until(items, log, now)["item_id"].to_pylist() == known
    assert items_until(items.select(["item_id"]), log, now)["item_id"].to_pylist() == ["at"]
    on_sale = items_until(items, log, now, undated_are_known=True)
    assert on_sale["item_id"].to_pylist() == ["at", "after", "never", *known[1:]]


def test_a_planted_leak_is_reported_by_feature_and_number_of_rows() -> None:
    sales = (("a", 1), ("b", 2), ("a", 50))
    rows = [{"user_id": "u1", "item_id": i, "timestamp": moment(h), "event": "x", "weight": 1.0} for i, h in sales]
    log, items = table(rows, schema.INTERACTIONS), schema.ITEMS.empty_table()
    leaky = item_features(training_log(log, items, SEEN, moment(60)), items)
    honest = item_features(training_log(events_until(log, moment(2)), items, SEEN, moment(2)), items)
    changed = ["item_sales_half_horizon", "item_sales_horizon", "item_sales_two_horizons", "item_sales"]
    found = differences(leaky, honest)
    assert found[:4] == [f"{name}: 2 of 2 rows" for name in changed]
    assert "item_events_per_user: 1 of 2 rows" in found
    assert differences(honest, honest.rename_columns(["id", *honest.column_names[1:]])) == ["columns id, item_id"]
    assert "2 rows against 0" in differences(honest, honest.slice(0, 0))[0]
    title = honest.set_column(1, "title", pa.array(["tape", None]))
    assert differences(title, honest) == ["title: 1 of 2 rows"]
