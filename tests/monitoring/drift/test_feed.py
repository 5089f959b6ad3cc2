"""A broken feed is named, with its shares and an example; a market that moves is none."""

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.drift.feed import FeedFault, describe, feed_faults
from monitoring.drift.signs import plain_id


def put(table: pa.Table, name: str, values: object) -> pa.Table:
    """The table with another column of that name, in the same type."""
    place = table.column_names.index(name)
    field = table.schema.field(name)
    column = values if isinstance(values, pa.ChunkedArray) else pa.array(values, field.type)
    return table.set_column(place, field, column.cast(field.type))


def nulled(table: pa.Table, name: str, part: float = 1.0) -> pa.Table:
    """A column without the values of the first part of each ten rows."""
    lost = np.arange(table.num_rows) % 10 < 10 * part
    return put(table, name, pc.if_else(pa.array(lost), pa.scalar(None, table.schema.field(name).type), table[name]))


def renamed(table: pa.Table, name: str, template: str, part: float = 1.0) -> pa.Table:
    """Ids written by a template that holds the old one, in a part of the rows."""
    changed = np.arange(table.num_rows) % 10 < 10 * part
    ids = table[name].to_pylist()
    return put(table, name, [template.format(old) if c else old for c, old in zip(changed, ids, strict=True)])


def at(table: pa.Table, change: Callable[[np.ndarray], np.ndarray]) -> pa.Table:
    return put(table, "timestamp", change(table["timestamp"].cast(pa.int64()).to_numpy()))


DAY = 86_400_000_000
FAULTS: dict[str, tuple[str, Callable[[pa.Table], pa.Table], str]] = {
    "prices lost": (
        "unit_price",
        lambda t: nulled(t, "unit_price"),
        r"has a value in 0% of .*, 100% before \(not for user",
    ),
    "a third lost": ("quantity", lambda t: nulled(t, "quantity", 0.3), r"in 70% of the newest events, 100% before"),
    "ratings come": (
        "rating",
        lambda t: put(t, "rating", [4.0] * len(t)),
        r"in 100% .*, 0% before \(such as for user 'u",
    ),
    "orders lost": ("order_id", lambda t: nulled(t, "order_id"), r"has a value in 0% of"),
    "padded items": (
        "item_id",
        lambda t: renamed(t, "item_id", "0{}"),
        r"otherwise than before in 100% of the newest ids, 0% .*'0(i\d+)' for '\1'",
    ),
    "some padded": (
        "item_id",
        lambda t: renamed(t, "item_id", "{}.", 0.2),
        r"is written otherwise than before in \d+%",
    ),
    "new items": (
        "item_id",
        lambda t: renamed(t, "item_id", "n{}", 0.8),
        r"is known from earlier events in \d+% of the newest ids",
    ),
    "users in capitals": ("user_id", lambda t: put(t, "user_id", pc.utf8_upper(t["user_id"])), r"'(U)(\d+)' for 'u\2'"),
    "new users": (
        "user_id",
        lambda t: renamed(t, "user_id", "n{}"),
        r"known from earlier events in 0% .*, 98% before \(not 'nu",
    ),
    "one user": (
        "user_id",
        lambda t: put(t, "user_id", ["u1"] * len(t)),
        r"one and the same in 100% .* \(such as 'u1'\)",
    ),
    "one moment": (
        "timestamp",
        lambda t: at(t, lambda us: us * 0 + us.max()),
        r"one and the same in 100% .* \(such as 20",
    ),
    "midnight": (
        "time of day",
        lambda t: at(t, lambda us: us // DAY * DAY),
        r"same in 100% .* \(such as 20.* 00:00:00\)",
    ),
    "another event": ("event", lambda t: put(t, "event", ["view"] * len(t)), r"is 'purchase' in 0% of .*, 100% before"),
    "sent twice": (
        "row",
        lambda t: pa.concat_tables([t, at(t, lambda us: us - 1000)]),
        r"repeats another .* in 5\d% of",
    ),
}


@pytest.fixture(scope="module")
def past(market) -> pa.Table:
    return market.window(1, 0, 120)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_column_is_named(market, past, fault):
    column, broken, words = FAULTS[fault]
    found = feed_faults(past, broken(market.window(1, 120, 14)), market.items, market.users)
    assert column in [each.column for each in found]
    text = next(each.text for each in found if each.column == column)
    assert text.startswith(f"{column} ")
    assert re.search(words, text), text
    # ids that match nothing have no category or region either, and prices of no kind of event cannot be judged
    beside = {"item_id": "the item's ", "user_id": "the user's ", "timestamp": "time of day"}
    assert all(f.column == column or f.column.startswith(beside.get(column, "none")) for f in found)
    assert len({each.column for each in found}) == len(found)


@pytest.mark.parametrize("seed", range(4))
def test_a_market_that_grows_is_no_broken_feed(market, seed):
    """Each fortnight brings a fifth of new items and of new users, prices rise, and a season doubles the orders."""

    def fortnight(number: int) -> pa.Table:
        window = market.window(seed, 14 * number, 14, price=1.1**number, orders_a_day=44 if number == 9 else 22)
        for name in ("item_id", "user_id"):
            window = renamed(window, name, f"{{}}-{number}", 0.2)
        return window

    log = [fortnight(number) for number in range(10)]
    assert feed_faults(pa.concat_tables(log[:-1]), log[-1], market.items, market.users) == ()
    assert feed_faults(pa.concat_tables(log[-4:-1]), log[-1], market.items, market.users) == ()  # a young log


def test_what_always_varied_is_no_fault(market, past):
    """Prices that every other fortnight lacks."""
    odd = pa.array((past["timestamp"].cast(pa.int64()).to_numpy() // (14 * DAY)) % 2 == 0)
    gaps = put(past, "unit_price", pc.if_else(odd, past["unit_price"], pa.scalar(None, pa.float64())))
    assert feed_faults(gaps, nulled(market.window(1, 120, 14), "unit_price"), market.items) == ()


def test_what_varied_much_but_never_vanished_is_a_fault_when_it_vanishes(market, past):
    """Two of five prices are missing in every other fortnight, so that the spread alone would allow for none at all."""
    odd = (past["timestamp"].cast(pa.int64()).to_numpy() // (14 * DAY)) % 2 == 0
    lost = pa.array(odd & (np.arange(past.num_rows) % 5 < 2))
    gaps = put(past, "unit_price", pc.if_else(lost, pa.scalar(None, pa.float64()), past["unit_price"]))
    newest = market.window(1, 120, 14)
    assert feed_faults(gaps, nulled(newest, "unit_price", 0.4), market.items) == ()
    (fault,) = feed_faults(gaps, nulled(newest, "unit_price"), market.items)
    assert fault.column == "unit_price"


def test_one_large_new_customer_is_no_broken_id(market, past):
    """Ids are counted once, however many events they have."""
    newest = market.window(1, 120, 14)
    large = np.arange(newest.num_rows) % 10 < 6
    ids = newest["user_id"].to_pylist()
    newest = put(newest, "user_id", ["large" if new else old for new, old in zip(large, ids, strict=True)])
    assert feed_faults(past, newest, market.items) == ()


def test_few_users_are_not_compared(market, past):
    """Of five customers it may be one alone who buys in a window."""
    five = put(past, "user_id", [f"u{int(user[1:]) % 5}" for user in past["user_id"].to_pylist()])
    newest = market.window(1, 120, 14)
    alone = put(newest, "user_id", ["u1"] * newest.num_rows)
    assert "user_id" not in [fault.column for fault in feed_faults(five, alone, market.items)]


def test_one_past_window_says_little(market):
    """It has no spread: only half of the events or more count."""
    reference, newest = market.window(1, 0, 20), market.window(1, 20, 14)
    assert feed_faults(reference, nulled(newest, "quantity", 0.3), market.items) == ()
    (fault,) = feed_faults(reference, nulled(newest, "quantity", 0.7), market.items)
    assert fault.column == "quantity"


def test_without_a_past_window_there_is_no_fault(market):
    newest = nulled(market.window(1, 10, 14), "unit_price")
    assert feed_faults(market.window(1, 0, 10), newest, market.items, market.users) == ()
    assert feed_faults(newest.slice(0, 0), newest, market.items, market.users) == ()
    assert feed_faults(newest, newest.slice(0, 0), market.items, market.users) == ()


def test_a_catalogue_that_lost_a_column_is_named(market, past):
    """Every row of the catalogue has lost it, so that only the catalogue as it was read before can tell."""
    newest, bare = market.window(1, 120, 14), nulled(market.items, "category")
    (fault,) = feed_faults(past, newest, bare, market.users, earlier_items=market.items)
    assert (fault.column, fault.before, fault.now) == ("the item's category", 1.0, 0.0)
    assert feed_faults(past, newest, market.items, market.users, earlier_items=bare) == ()  # it was filled: no fault


def test_attributes_are_those_of_the_events_time(market, past):
    """A state of the catalogue that holds from the newest window on has lost the category."""
    newest = market.window(1, 120, 14)
    begin = pc.min(newest["timestamp"])
    later = put(nulled(market.items, "category"), "valid_from", [begin.as_py()] * market.items.num_rows)
    (fault,) = feed_faults(past, newest, pa.concat_tables([later, market.items]), market.users)
    assert (fault.column, fault.before, fault.now) == ("the item's category", 1.0, 0.0)
    only = put(market.items, "valid_from", [begin.as_py()] * market.items.num_rows)  # says nothing of earlier events
    assert feed_faults(past, newest, only, market.users) == ()


def test_a_rare_kind_of_event_carries_its_own_values(market, past):
    """One event in ten is a purchase with a price, the others views without; the newest purchases lack theirs."""

    def mixed(table: pa.Table) -> pa.Table:
        views = np.arange(table.num_rows) % 10 > 0
        table = put(table, "event", np.where(views, "view", "purchase").tolist())
        return put(table, "unit_price", pc.if_else(pa.array(views), pa.scalar(None, pa.float64()), table["unit_price"]))

    before, newest = mixed(past), mixed(market.window(1, 120, 14))
    assert feed_faults(before, newest, market.items) == ()
    (fault,) = feed_faults(before, nulled(newest, "unit_price"), market.items)
    assert (fault.column, fault.before, fault.now) == ("unit_price", 1.0, 0.0)
    (gone,) = feed_faults(before, newest.filter(pc.equal(newest["event"], "view")), market.items)
    assert gone.text.startswith("event is 'purchase' in 0% of the newest events, 10% before")


@given(st.text("abz109", min_size=1).filter(lambda text: text[0] != "0"), st.integers(0, 4))
def test_ways_to_write_one_id(text, n_zeros):
    assert plain_id("0" * n_zeros + text.upper()) == plain_id(f" {text}-") == plain_id(text)
    if text.isdigit():
        assert plain_id(f"{text}.0") == plain_id(text)


def test_some_ids_differ_however_written():
    assert len({plain_id(text) for text in ("1.5", "15.1", "a1", "b1", "10", "1")}) == 6


def test_many_faults_are_counted():
    faults = [FeedFault(f"c{n}", 1, 0, 0.9, f"c{n} broke") for n in range(6)]
    assert describe(faults) == "c0 broke; c1 broke; c2 broke; c3 broke; and 2 more"
    assert describe([]) == ""
