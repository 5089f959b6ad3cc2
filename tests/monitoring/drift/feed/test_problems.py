"""A broken feed is reported with its shares and an example; a changing market is not a broken feed."""

import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from monitoring.drift.feed import problems as feed
from monitoring.drift.feed.checks import normalise_id
from monitoring.drift.feed.problems import FeedProblem, describe, find_feed_problems
from monitoring.drift.feed.shares import FeedCheck, healthy, share_limits
from monitoring.drift.windows import Window


def put(table: pa.Table, name: str, values: object) -> pa.Table:
    """The table with the column of that name replaced, in the same type."""
    place = table.column_names.index(name)
    field = table.schema.field(name)
    column = values if isinstance(values, pa.ChunkedArray) else pa.array(values, field.type)
    return table.set_column(place, field, column.cast(field.type))


def nulled(table: pa.Table, name: str, share: float = 1.0) -> pa.Table:
    """The table without the column's values in the first rows of each ten, by share."""
    lost = np.arange(table.num_rows) % 10 < 10 * share
    return put(table, name, pc.if_else(pa.array(lost), pa.scalar(None, table.schema.field(name).type), table[name]))


def renamed(table: pa.Table, name: str, template: str, share: float = 1.0) -> pa.Table:
    """The table with ids rewritten by a template around the old id, in a share of the rows."""
    changed = np.arange(table.num_rows) % 10 < 10 * share
    ids = table[name].to_pylist()
    return put(table, name, [template.format(old) if c else old for c, old in zip(changed, ids, strict=True)])


def at(table: pa.Table, change: Callable[[np.ndarray], np.ndarray]) -> pa.Table:
    return put(table, "timestamp", change(table["timestamp"].cast(pa.int64()).to_numpy()))


DAY, HOUR = 86_400_000_000, 3_600_000_000
BROKEN: dict[str, tuple[str, Callable[[pa.Table], pa.Table], str]] = {
    "prices lost": (
        "unit_price",
        lambda t: nulled(t, "unit_price"),
        r"has a value in 0% of .*, 100% before \(counterexample: user",
    ),
    "a third lost": ("quantity", lambda t: nulled(t, "quantity", 0.3), r"in 70% of the newest events, 100% before"),
    "ratings come": (
        "rating",
        lambda t: put(t, "rating", [4.0] * len(t)),
        r"in 100% .*, 0% before \(example: user 'u",
    ),
    "orders lost": ("order_id", lambda t: nulled(t, "order_id"), r"has a value in 0% of"),
    "padded items": (
        "item_id",
        lambda t: renamed(t, "item_id", "0{}"),
        r"has a new format in 100% of the newest ids, 0% .*'0(i\d+)' instead of '\1'",
    ),
    "some padded": (
        "item_id",
        lambda t: renamed(t, "item_id", "{}.", 0.2),
        r"has a new format in \d+%",
    ),
    "new items": (
        "item_id",
        lambda t: renamed(t, "item_id", "n{}", 0.8),
        r"is known from earlier events in \d+% of the newest ids",
    ),
    "users in capitals": (
        "user_id",
        lambda t: put(t, "user_id", pc.utf8_upper(t["user_id"])),
        r"'(U)(\d+)' instead of 'u\2'",
    ),
    "new users": (
        "user_id",
        lambda t: renamed(t, "user_id", "n{}"),
        r"known from earlier events in 0% .*, 98% before \(counterexample: 'nu",
    ),
    "one user": (
        "user_id",
        lambda t: put(t, "user_id", ["u1"] * len(t)),
        r"its most common value in 100% .* \(example: 'u1'\)",
    ),
    "one time": (
        "timestamp",
        lambda t: at(t, lambda us: us * 0 + us.max()),
        r"its most common value in 100% .* \(example: 20",
    ),
    "midnight": (
        "time of day",
        lambda t: at(t, lambda us: us // DAY * DAY),
        r"common value in 100% .* \(example: 20.* 00:00:00\)",
    ),
    "cents": (
        "unit_price",
        lambda t: put(t, "unit_price", pc.multiply(t["unit_price"], 100)),
        r"is 5 times as large or as small as usual for the item in 100% .* for item 'i\d+'",
    ),
    "dozens": (
        "quantity",
        lambda t: put(t, "quantity", pc.divide(t["quantity"], 12)),
        r"is 5 times as large or as small as usual for the item in [6-9]\d%",
    ),
    "some cents": (
        "unit_price",
        lambda t: put(t, "unit_price", t["unit_price"].to_numpy() * np.where(np.arange(len(t)) % 5, 1, 100)),
        r"usual for the item in 20% of the newest events, 0% before",
    ),
    "another event": ("event", lambda t: put(t, "event", ["view"] * len(t)), r"is 'purchase' in 0% of .*, 100% before"),
    "sent twice": (
        "row",
        lambda t: pa.concat_tables([t, at(t, lambda us: us - 1000)]),
        r"is a duplicate of another row .* in 5\d% of",
    ),
}


@pytest.fixture(scope="module")
def past(market) -> pa.Table:
    return market.window(1, 0, 120)


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_column_is_reported(market, past, problem):
    column, broken, words = BROKEN[problem]
    found = find_feed_problems(past, broken(market.window(1, 120, 14)), market.items, market.users)
    assert column in [each.column for each in found]
    text = next(each.text for each in found if each.column == column)
    assert text.startswith(f"{column} ")
    assert re.search(words, text), text
    # unknown ids have no category or region either, and prices cannot be checked without an event type
    beside = {"item_id": "the item's ", "user_id": "the user's ", "timestamp": "time of day"}
    assert all(f.column == column or f.column.startswith(beside.get(column, "none")) for f in found)
    assert len({each.column for each in found}) == len(found)


@pytest.mark.parametrize("seed", range(4))
def test_a_growing_market_is_not_a_broken_feed(market, seed):
    """Every two weeks a fifth of items and users is new and prices rise; in one window the orders double."""

    def two_weeks(number: int) -> pa.Table:
        window = market.window(seed, 14 * number, 14, price=1.1**number, orders_a_day=44 if number == 9 else 22)
        for name in ("item_id", "user_id"):
            window = renamed(window, name, f"{{}}-{number}", 0.2)
        return window

    log = [two_weeks(number) for number in range(10)]
    assert find_feed_problems(pa.concat_tables(log[:-1]), log[-1], market.items, market.users) == ()
    assert find_feed_problems(pa.concat_tables(log[-4:-1]), log[-1], market.items, market.users) == ()  # a short log


def test_a_share_that_always_varied_is_no_problem(market, past):
    """Every second window of two weeks has no prices."""
    odd = pa.array((past["timestamp"].cast(pa.int64()).to_numpy() // (14 * DAY)) % 2 == 0)
    gaps = put(past, "unit_price", pc.if_else(odd, past["unit_price"], pa.scalar(None, pa.float64())))
    assert find_feed_problems(gaps, nulled(market.window(1, 120, 14), "unit_price"), market.items) == ()


def test_a_varying_share_that_was_never_zero_is_a_problem_when_it_is_zero(market, past):
    """Two of five prices are missing in every second window, so the spread alone would allow a share of 0."""
    odd = (past["timestamp"].cast(pa.int64()).to_numpy() // (14 * DAY)) % 2 == 0
    lost = pa.array(odd & (np.arange(past.num_rows) % 5 < 2))
    gaps = put(past, "unit_price", pc.if_else(lost, pa.scalar(None, pa.float64()), past["unit_price"]))
    newest = market.window(1, 120, 14)
    assert find_feed_problems(gaps, nulled(newest, "unit_price", 0.4), market.items) == ()
    (problem,) = find_feed_problems(gaps, nulled(newest, "unit_price"), market.items)
    assert problem.column == "unit_price"


def test_one_large_new_user_is_no_broken_id(market, past):
    """Each id is counted once."""
    newest = market.window(1, 120, 14)
    large = np.arange(newest.num_rows) % 10 < 6
    ids = newest["user_id"].to_pylist()
    newest = put(newest, "user_id", ["large" if new else old for new, old in zip(large, ids, strict=True)])
    assert find_feed_problems(past, newest, market.items) == ()


def test_few_users_are_not_compared(market, past):
    """Of five users, only one may buy in a window."""
    five = put(past, "user_id", [f"u{int(user[1:]) % 5}" for user in past["user_id"].to_pylist()])
    newest = market.window(1, 120, 14)
    alone = put(newest, "user_id", ["u1"] * newest.num_rows)
    assert "user_id" not in [problem.column for problem in find_feed_problems(five, alone, market.items)]


def test_one_past_window_needs_a_large_margin(market):
    """One window has no spread: only a change of half of the events or more is a problem."""
    reference, newest = market.window(1, 0, 20), market.window(1, 20, 14)
    assert find_feed_problems(reference, nulled(newest, "quantity", 0.3), market.items) == ()
    (problem,) = find_feed_problems(reference, nulled(newest, "quantity", 0.7), market.items)
    assert problem.column == "quantity"


def test_without_a_past_window_there_is_no_problem(market):
    newest = nulled(market.window(1, 10, 14), "unit_price")
    assert find_feed_problems(market.window(1, 0, 10), newest, market.items, market.users) == ()
    assert find_feed_problems(newest.slice(0, 0), newest, market.items, market.users) == ()
    assert find_feed_problems(newest, newest.slice(0, 0), market.items, market.users) == ()


def test_an_emptied_column_of_the_catalogue_is_reported(market, past):
    """The column is empty in every row, so only the catalogue as it was read before shows the difference."""
    newest, bare = market.window(1, 120, 14), nulled(market.items, "category")
    (problem,) = find_feed_problems(past, newest, bare, market.users, earlier_items=market.items)
    assert (problem.column, problem.before, problem.now) == ("the item's category", 1.0, 0.0)
    assert (
        find_feed_problems(past, newest, market.items, market.users, earlier_items=bare) == ()
    )  # it was filled: no problem


def test_attributes_are_those_at_the_time_of_the_event(market, past):
    """The state of the catalogue that is valid from the newest window on has no category."""
    newest = market.window(1, 120, 14)
    begin = pc.min(newest["timestamp"])
    later = put(nulled(market.items, "category"), "valid_from", [begin.as_py()] * market.items.num_rows)
    (problem,) = find_feed_problems(past, newest, pa.concat_tables([later, market.items]), market.users)
    assert (problem.column, problem.before, problem.now) == ("the item's category", 1.0, 0.0)
    only = put(market.items, "valid_from", [begin.as_py()] * market.items.num_rows)  # has no earlier state
    assert find_feed_problems(past, newest, only, market.users) == ()


def test_values_of_a_rare_event_type_are_checked_among_its_events(market, past):
    """One event in ten is a purchase with a price, the others are views without; the newest purchases have no price."""

    def mixed(table: pa.Table) -> pa.Table:
        views = np.arange(table.num_rows) % 10 > 0
        table = put(table, "event", np.where(views, "view", "purchase").tolist())
        return put(table, "unit_price", pc.if_else(pa.array(views), pa.scalar(None, pa.float64()), table["unit_price"]))

    before, newest = mixed(past), mixed(market.window(1, 120, 14))
    assert find_feed_problems(before, newest, market.items) == ()
    (problem,) = find_feed_problems(before, nulled(newest, "unit_price"), market.items)
    assert (problem.column, problem.before, problem.now) == ("unit_price", 1.0, 0.0)
    (missing,) = find_feed_problems(before, newest.filter(pc.equal(newest["event"], "view")), market.items)
    assert missing.text.startswith("event is 'purchase' in 0% of the newest events, 10% before")


def office_hours(table: pa.Table) -> pa.Table:
    """The table with all times between 9 and 17 o'clock."""
    return at(table, lambda us: us // DAY * DAY + 9 * HOUR + us % DAY * 8 // 24)


@pytest.mark.parametrize(("hours", "is_problem"), [(-5, True), (3, True), (-1, False), (1, False)])
def test_a_wrong_clock_is_a_problem_and_summer_time_is_none(market, past, hours, is_problem):
    moved = at(office_hours(market.window(1, 120, 14)), lambda us: us + hours * HOUR)
    found = find_feed_problems(office_hours(past), moved, market.items, days=14)
    assert [problem.column for problem in found] == ["time of day"] * is_problem
    if found:
        assert "is in an hour that had hardly any events in" in found[0].text
    # a market that is open at any hour has no quiet hours
    assert find_feed_problems(past, at(market.window(1, 120, 14), lambda us: us + hours * HOUR), market.items) == ()


def cut(table: pa.Table, begin: float, end: float, is_kept: Callable[[str], bool] = lambda item: False) -> pa.Table:
    """The table without the items' events of some days, counted from its first event."""
    day = (table["timestamp"].cast(pa.int64()).to_numpy() - pc.min(table["timestamp"]).cast(pa.int64()).as_py()) / DAY
    kept = [is_kept(item) for item in table["item_id"].to_pylist()]
    return table.filter(pa.array((day < begin) | (day > end) | np.array(kept)))


def test_a_missing_day_is_a_problem_unless_the_shop_was_closed_before(market, past):
    """A shop that was closed on the third day of an earlier week may be closed again."""
    newest = cut(market.window(1, 120, 7), 2, 3.2)
    (problem,) = find_feed_problems(past, newest, market.items, days=7)
    assert (problem.column, problem.now) == ("timestamp", 0.0)
    assert re.match(r"no event from 20.+ to 20.+; in the same hours of earlier weeks \d\d users or more", problem.text)
    assert find_feed_problems(cut(past, 2 + 7 * 9 + 1, 3.2 + 7 * 9 + 1), newest, market.items, days=7) == ()
    assert find_feed_problems(past, cut(market.window(1, 120, 7), 2, 2.4), market.items, days=7) == ()
    assert find_feed_problems(past.slice(past.num_rows - 4000), newest, market.items, days=7) == ()  # too few weeks


def test_a_category_that_is_cut_off_is_a_problem_until_half_of_the_windows_lack_it(market, past):
    category = dict(zip(market.items["item_id"].to_pylist(), market.items["category"].to_pylist(), strict=True))

    def problems(weeks_without: int, begin: float) -> list[str]:
        is_other = lambda item: category[item] != "c3"  # noqa: E731
        kept = cut(past, 120 - 7 * weeks_without, 200, is_other)
        newest = cut(market.window(1, 120, 7), begin, 8, is_other)
        return [problem.text for problem in find_feed_problems(kept, newest, market.items, days=7)]

    (text,) = problems(0, 3)
    assert text.startswith("no event of category 'c3' from 20")
    assert problems(0, 6.6) == []  # shorter than half a day
    assert len(problems(3, 0)) == 1
    assert problems(12, 0) == []  # of 17 windows; nobody sells it any more


def test_a_feed_that_is_still_broken_stays_a_problem(market, past):
    """Three weeks without prices are no healthy past."""
    seconds = past["timestamp"].cast(pa.int64()).to_numpy()
    lost = pa.array(seconds > seconds.max() - 21 * DAY)
    broken = put(past, "unit_price", pc.if_else(lost, pa.scalar(None, pa.float64()), past["unit_price"]))
    (problem,) = find_feed_problems(broken, nulled(market.window(1, 120, 7), "unit_price"), market.items, days=7)
    assert (problem.column, problem.before) == ("unit_price", 1.0)
    assert find_feed_problems(broken, market.window(1, 120, 7), market.items, days=7) == ()  # healed


def test_past_shares_outside_their_limits_are_left_out_up_to_half():
    def limits(past: np.ndarray) -> tuple[float, float]:
        return past.mean() - 0.1, past.mean() + 0.1

    assert healthy(np.array([0, 0, 1.0, 1, 1, 1]), limits).tolist() == [1, 1, 1, 1]
    assert healthy(np.array([1, 0, 1.0, 1, 1, 1]), lambda past: (0.5, 1)).tolist() == [1, 0, 1, 1, 1, 1]
    assert healthy(np.array([0, 0, 0, 1.0, 1, 1]), limits).tolist() == [1, 1, 1]
    assert healthy(np.array([0, 0, 0, 1.0, 1]), limits).tolist() == [0, 0, 0, 1, 1]
    assert healthy(np.array([1.0]), limits).tolist() == [1.0]


def problems_by_chance(
    market: Any, monkeypatch: pytest.MonkeyPatch, n_windows: int, alarm_rate: float = feed.ALARM_RATE
) -> list[set[str]]:
    """The columns reported in windows without a change, by ten checks without margins, which would only lower them.

    Each share varies by a twentieth from window to window, independently, around three tenths.
    """
    rng = np.random.default_rng(0)

    def check(column: str) -> FeedCheck:
        shares: dict[float, float] = defaultdict(lambda: rng.normal(0.3, 0.05))  # start of the window -> share

        def has_property(window: Window) -> np.ndarray:
            return np.arange(window.rows.size) < shares[window.start] * window.rows.size

        return FeedCheck(column, "varies", has_property, partial(share_limits, None, 0.0), str)

    monkeypatch.setattr(feed, "ALARM_RATE", alarm_rate)
    monkeypatch.setattr(feed, "build_checks", lambda *_: [check(f"c{n}") for n in range(10)])
    log = [market.window(1, first_day, days, orders_a_day=3) for first_day, days in ((0, 120), (120, 14))]
    items = market.items
    found = (find_feed_problems(*log, items) for _ in range(n_windows))
    return [{problem.column for problem in problems} for problems in found]


def test_the_alarm_rate_of_all_checks_together_is_one_per_cent(market, monkeypatch):
    """One of a thousand such tests exceeds the bound."""
    found = problems_by_chance(market, monkeypatch, 250)
    assert sum(map(bool, found)) <= binom.ppf(0.999, 250, 0.01)


def test_each_check_has_its_share_of_the_alarm_rate(market, monkeypatch):
    """At a rate of 1, each of the ten checks fires in a tenth of the windows."""
    found = problems_by_chance(market, monkeypatch, 100, alarm_rate=1.0)
    least, most = binom.interval(0.999, 100, 0.1)
    for n in range(10):
        assert least <= sum(f"c{n}" in columns for columns in found) <= most, n


@given(st.text("abz109", min_size=1).filter(lambda text: text[0] != "0"), st.integers(0, 4))
def test_formats_of_one_id_are_normalised_alike(text, n_zeros):
    assert normalise_id("0" * n_zeros + text.upper()) == normalise_id(f" {text}-") == normalise_id(text)
    if text.isdigit():
        assert normalise_id(f"{text}.0") == normalise_id(text)


def test_different_ids_stay_different():
    assert len({normalise_id(text) for text in ("1.5", "15.1", "a1", "b1", "10", "1")}) == 6


def test_describe_counts_the_problems_beyond_the_first():
    feed_problems = [FeedProblem(f"c{n}", 1, 0, 0.9, f"c{n} broke") for n in range(6)]
    assert describe(feed_problems) == "c0 broke; c1 broke; c2 broke; c3 broke; and 2 more"
    assert describe([]) == ""
