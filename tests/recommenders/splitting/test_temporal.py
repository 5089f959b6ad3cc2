from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.events.interactions import Interactions
from recommenders.events.item_states import items_as_of
from recommenders.splitting.temporal import cut_time, newest_window, split, training_log
from recommenders.storage import schema

START = datetime(2026, 1, 1, tzinfo=UTC)
TIME_CUT = Protocol(split="time_cut", test_days=10)
LATEST_OUT = Protocol(split="latest_out", repeat=False)

Rows = list[tuple[int, int, int]]  # user, item, hour
ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 24 * 60)), min_size=1, max_size=60)


def log(rows: Rows) -> pa.Table:
    events = [
        {
            "user_id": f"u{u}",
            "item_id": f"i{i}",
            "timestamp": START + timedelta(hours=h),
            "event": "purchase",
            "weight": 1.0,
        }
        for u, i, h in rows
    ]
    return schema.conform(pa.Table.from_pylist(events), schema.INTERACTIONS, "log")


def part(parts: pa.Table, name: str) -> pa.Table:
    return parts.filter(pc.equal(parts["part"], name))


@settings(max_examples=30)
@given(ROWS)
def test_time_cut_parts_are_disjoint_complete_and_in_time_order(rows: Rows) -> None:
    events = log(rows)
    hours = sorted(h for _, _, h in rows)
    assume(hours[0] <= hours[-1] - 20 * 24)
    parts = split(events, TIME_CUT)
    assert parts.drop_columns(["part"]).equals(events)
    train, validation, test = (part(parts, name)["timestamp"].to_pylist() for name in ("train", "validation", "test"))
    last = max(events["timestamp"].to_pylist())
    cut = last - timedelta(days=10)
    assert max(train) <= cut - timedelta(days=10)
    assert all(cut - timedelta(days=10) < t <= cut for t in validation)
    assert min(test) > cut
    assert cut_time(parts) == max(train + validation) <= cut


def test_an_event_at_the_cut_is_not_test() -> None:
    parts = split(log([(0, 0, 0), (0, 1, 240), (0, 2, 480), (0, 3, 720)]), TIME_CUT)
    assert parts["part"].to_pylist() == ["train", "train", "validation", "test"]
    assert cut_time(parts) == START + timedelta(hours=480)
    assert not parts.schema.field("part").nullable


@pytest.mark.parametrize("late", [-1, 0, 1])  # microseconds after the cut
def test_a_window_begins_one_microsecond_after_its_cut(late: int) -> None:
    events = log([(0, 0, 0), (0, 1, 240), (0, 2, 480), (0, 3, 720)])
    times = events["timestamp"].to_pylist()
    times[2] += timedelta(microseconds=late)
    events = events.set_column(
        events.schema.get_field_index("timestamp"), events.schema.field("timestamp"), pa.array(times, schema.TIME)
    )
    assert split(events, TIME_CUT)["part"].to_pylist()[2] == ("test" if late > 0 else "validation")
    assert newest_window(events, 10)[1].num_rows == 1 + (late > 0)


@given(ROWS, st.integers(1, 70))
def test_the_newest_window_is_the_test_part_of_a_time_cut_of_as_many_days(rows: Rows, days: int) -> None:
    table, last = log(rows), max(hour for _, _, hour in rows)
    before, newest = newest_window(table, days)
    is_newest = pa.array([hour > last - 24 * days for _, _, hour in rows])
    assert newest.equals(table.filter(is_newest))
    assert before.equals(table.filter(pc.invert(is_newest)))
    assert [part.num_rows for part in newest_window(table.slice(0, 0), days)] == [0, 0]


@pytest.mark.parametrize(("protocol", "dated", "horizon"), [(TIME_CUT, True, 10.0), (LATEST_OUT, False, None)])
def test_a_training_log_has_the_protocols_horizon_for_a_time_cut(
    protocol: Protocol, dated: bool, horizon: float | None
) -> None:
    built = training_log(log([(0, 0, 1), (0, 1, 2)]), items(i0=(0, None)), protocol)
    assert (built.dated, built.horizon_days) == (dated, horizon)


@settings(max_examples=30)
@given(ROWS)
def test_latest_out_holds_out_each_users_latest(rows: Rows) -> None:
    users: dict[int, int] = {}
    for u, _, _ in rows:
        users[u] = users.get(u, 0) + 1
    assume(max(users.values()) > 1)
    parts = split(log(rows), LATEST_OUT)
    for user, n in users.items():
        own = parts.filter(pc.equal(parts["user_id"], f"u{user}"))
        found = own["part"].to_pylist()
        assert (found.count("test"), found.count("validation")) == (int(n > 1), int(n > 2))
        order = sorted(zip(own["timestamp"].to_pylist(), own["item_id"].to_pylist(), found, strict=True))
        expected = (
            ["train"] if n == 1 else ["train", "test"] if n == 2 else ["train"] * (n - 2) + ["validation", "test"]
        )
        # of two equal events either may be the later one
        assert sorted(found) == sorted(expected)
        assert order[-1][:2] == max((t, i) for t, i, p in order if n == 1 or p == "test")


@settings(max_examples=30)
@given(ROWS, st.randoms(use_true_random=False))
def test_latest_out_does_not_depend_on_the_order_of_rows(rows: Rows, random: object) -> None:
    rows = list(dict.fromkeys(rows))
    shuffled = rows.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assume(len(rows) > len({u for u, _, _ in rows}))

    def held_out(order: Rows) -> set[tuple[str, str, datetime]]:
        test = part(split(log(order), LATEST_OUT), "test")
        return set(zip(*(test[name].to_pylist() for name in ("user_id", "item_id", "timestamp")), strict=True))

    assert held_out(rows) == held_out(shuffled)


def test_the_error_of_a_short_log_names_what_is_missing() -> None:
    with pytest.raises(DataError, match=r"train would be empty; got 15\.0 days of events, .* take 20; bring a longer"):
        split(log([(0, 0, 0), (0, 1, 15 * 24)]), TIME_CUT)
    with pytest.raises(DataError, match="test would be empty; latest_out needs a user with two events"):
        split(log([(0, 0, 0), (1, 1, 5)]), LATEST_OUT)
    with pytest.raises(DataError, match="it holds no events"):
        split(log([(0, 0, 0)]).slice(0, 0), TIME_CUT)


def test_a_log_of_test_events_only_has_no_cut() -> None:
    parts = split(log([(0, 0, 0), (0, 1, 24 * 30)]), TIME_CUT)
    with pytest.raises(DataError, match="no event before the test part"):
        cut_time(part(parts, "test"))


def items(**lives: tuple[int | None, int | None]) -> pa.Table:
    """Items by name with the hour of launch and of end."""
    rows = [
        {
            "item_id": name,
            "available_from": None if start is None else START + timedelta(hours=start),
            "available_until": None if end is None else START + timedelta(hours=end),
        }
        for name, (start, end) in lives.items()
    ]
    return schema.conform(pa.Table.from_pylist(rows), schema.ITEMS, "items")


def test_on_sale_is_launched_and_not_ended_at_that_time() -> None:
    table = items(i0=(0, None), i1=(0, 5), always=(None, None), now=(10, None), ends_now=(0, 10), later=(11, None))
    protocol = replace(TIME_CUT, candidates="on_sale")
    found = training_log(log([(0, 0, 1), (0, 1, 2), (1, 9, 10)]), table, protocol)
    on_sale = dict(zip(found.items.ids.tolist(), found.available.tolist(), strict=True))
    # i9 has an event but is not in the item table, so it is not on sale
    assert on_sale == {"i0": True, "i1": False, "i9": False, "always": True, "now": True, "ends_now": False}
    assert found.repeat
    assert len(found) == 3


def test_seen_before_cut_is_every_item_with_an_event() -> None:
    found = training_log(log([(0, 0, 1), (0, 1, 2)]), items(i0=(None, None), i2=(None, None), i3=(0, 1)), LATEST_OUT)
    assert dict(zip(found.items.ids.tolist(), found.available.tolist(), strict=True)) == {
        "i0": True,
        "i1": True,
        "i3": False,
    }
    assert not found.repeat


@pytest.mark.parametrize("candidates", ["on_sale", "seen_before_cut"])
def test_sale_periods_are_kept_with_every_protocol(candidates: str, tmp_path: Path) -> None:
    table = items(i0=(None, 3), i1=(0, None), i2=(5000, None), never_sold=(0, 7))
    protocol = replace(TIME_CUT, candidates=candidates)  # type: ignore[arg-type]
    built = training_log(log([(0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 9, 10)]), table, protocol)
    built = Interactions.load(built.save(tmp_path / "log"))

    def on_sale(hour: int) -> set[str]:
        assert built.sale_periods is not None
        time = int((START + timedelta(hours=hour)).timestamp() * 1e6)
        return set(built.items.ids[built.sale_periods.at(time).items].tolist()) - {"never_sold"}

    assert on_sale(-1) == {"i0", "i9"}
    assert on_sale(2) == {"i0", "i1", "i9"}
    assert on_sale(3) == {"i1", "i9"}
    assert on_sale(5000) == {"i1", "i2", "i9"}
    no_dates = training_log(log([(0, 0, 1), (0, 1, 2)]), items(i0=(None, None)), protocol)
    assert Interactions.load(no_dates.save(tmp_path / "log")).sale_periods is None


@pytest.mark.parametrize("candidates", ["on_sale", "seen_before_cut"])
def test_serving_has_the_newest_sale_dates_and_evaluation_those_of_the_cut(candidates: Any) -> None:
    """A state of one day after the last event ends the sale of i0."""
    rows = [{"item_id": "i0", "valid_from": START}]
    rows.append({"item_id": "i0", "valid_from": START + timedelta(days=1), "available_until": START})
    table = schema.conform(pa.Table.from_pylist(rows, schema=schema.ITEMS), schema.ITEMS, "items")
    events = log([(0, 0, 1), (0, 1, 2)])
    protocol = replace(TIME_CUT, candidates=candidates)
    served = training_log(events, table, protocol)
    evaluated = training_log(events, table, protocol, START + timedelta(hours=2))
    assert served.sale_periods is not None
    assert not served.sale_periods.at(int(START.timestamp() * 1e6)).items[0]
    assert evaluated.sale_periods is None
    assert served.available.tolist() == evaluated.available.tolist() == [True, candidates == "seen_before_cut"]


def test_a_training_log_of_later_events_or_none_is_an_error() -> None:
    events = log([(0, 0, 1), (0, 1, 200)])
    with pytest.raises(DataError, match=r"past as_of 2026-01-02.*; filter it first"):
        training_log(events, items(i0=(0, None)), TIME_CUT, as_of=datetime(2026, 1, 2))
    with pytest.raises(DataError, match="needs events; got none"):
        training_log(events.slice(0, 0), items(i0=(0, None)), TIME_CUT)


@pytest.mark.parametrize("zone", [None, UTC, timezone(timedelta(hours=9))])
def test_as_of_is_the_same_time_in_every_time_zone(zone: Any) -> None:
    time = (START + timedelta(hours=5)).astimezone(zone) if zone else (START + timedelta(hours=5)).replace(tzinfo=None)
    table = items(launched=(5, None), later=(6, None))
    found = training_log(log([(0, 0, 1)]), table, replace(TIME_CUT, candidates="on_sale"), time)
    assert found.items.ids.tolist() == ["i0", "launched"]


STATES = st.lists(
    st.tuples(st.integers(0, 8), st.one_of(st.none(), st.integers(0, 24 * 60)), st.booleans()), max_size=20
)


def states(rows: list[tuple[int, int | None, bool]]) -> pa.Table:
    """Items with states from some hour on, or without a begin; in some states the item is not on sale."""
    found = {(i, hour): gone for i, hour, gone in rows}
    table = [
        {
            "item_id": f"i{i}",
            "valid_from": None if hour is None else START + timedelta(hours=hour),
            "available_from": None if hour is None else START + timedelta(hours=hour),
            "available_until": START if gone else None,
        }
        for (i, hour), gone in found.items()
    ]
    return schema.conform(pa.Table.from_pylist(table, schema=schema.ITEMS), schema.ITEMS, "items")


@settings(max_examples=30)
@given(ROWS, STATES, st.integers(0, 24 * 60), st.sampled_from(["on_sale", "seen_before_cut"]))
def test_a_training_log_does_not_depend_on_anything_after_as_of(
    rows: Rows, items: list[tuple[int, int | None, bool]], hour: int, candidates: str
) -> None:
    known = [row for row in rows if row[2] <= hour]
    assume(known)
    protocol = replace(TIME_CUT, candidates=candidates)  # type: ignore[arg-type]
    time = START + timedelta(hours=hour)
    now = training_log(log(known), states(items), protocol, time)
    later = training_log(log(rows).filter(pc.less_equal(log(rows)["timestamp"], time)), states(items), protocol, time)
    then = training_log(log(known), states([i for i in items if i[1] is None or i[1] <= hour]), protocol, time)
    for other in (later, then):
        assert now.items.ids.tolist() == other.items.ids.tolist()
        assert now.users.ids.tolist() == other.users.ids.tolist()
        assert (now.available == other.available).all()
        assert (now.item_columns == other.item_columns).all()
        assert (now.strengths == other.strengths).all()
        assert (now.sale_periods is None) == (other.sale_periods is None)
        if now.sale_periods is not None and other.sale_periods is not None:
            assert (now.sale_periods.begins == other.sale_periods.begins).all()
            assert (now.sale_periods.ends == other.sale_periods.ends).all()


@settings(max_examples=30)
@given(ROWS, ROWS)
def test_no_event_before_the_cut_is_test(early: Rows, late: Rows) -> None:
    hours = sorted(h for _, _, h in early + late)
    assume(hours[0] <= hours[-1] - 20 * 24)
    whole = split(log(early + late), TIME_CUT)
    cut = max(log(early + late)["timestamp"].to_pylist()) - timedelta(days=10)
    for time, name in zip(whole["timestamp"].to_pylist(), whole["part"].to_pylist(), strict=True):
        assert (name == "test") == (time > cut)


def test_the_newest_state_is_selected_among_an_undated_and_two_dated_ones() -> None:
    items = states([(1, None, False), (1, 24, True), (1, 48, False)])
    for hour, title in ((0, "ever"), (30, "first"), (60, "second")):
        named = items.drop_columns(["title"]).append_column("title", pa.array(["ever", "first", "second"]))
        found = items_as_of(schema.conform(named, schema.ITEMS, "items"), START + timedelta(hours=hour))
        assert found["title"].to_pylist() == [title]
