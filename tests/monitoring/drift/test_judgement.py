"""Verdicts in words: what changed, who makes the change, and what could not be tested."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from monitoring.drift.causes import Part, event_contributions, own_share, parts
from monitoring.drift.changes import HISTORY, Change, changes, compare, reference_windows
from monitoring.drift.columns import ACTIVE_USERS, ACTIVITY, ITEM_MIX, NEW_ITEMS, POPULARITY, VOLUMES, EncodedLog, Flags
from monitoring.drift.judgement import METHOD, ColumnDrift, judge, summarise
from monitoring.drift.windows import WEEK, aligned_windows


@pytest.fixture(scope="module")
def log(still_log: Callable[..., EncodedLog]) -> EncodedLog:
    return still_log(np.random.default_rng(3))


def moved(log: EncodedLog, weeks: int = 1, region: int | None = None) -> EncodedLog:
    """A fifth of the lines of the newest weeks, or of one region's half of them, move to category 'c'."""
    category = log.labels["category"].copy()
    chosen = log.seconds > log.seconds.max() - weeks * WEEK
    chosen &= np.arange(chosen.size) % 5 == 0 if region is None else log.labels["region"] == region
    category[chosen] = 2
    return replace(log, labels={**log.labels, "category": category})


def rows_of(log: EncodedLog, kept: Flags) -> EncodedLog:
    """The log with some of its events."""
    return EncodedLog(
        log.n_reference,
        {name: values[kept] for name, values in log.numbers.items()},
        {name: codes[kept] for name, codes in log.labels.items()},
        log.names,
        *(codes[kept] for codes in (log.items, log.users, log.orders, log.seconds)),
    )


def test_a_category_that_grows_is_named_with_its_share(log) -> None:
    found = judge(moved(log), 7)
    first = found.columns[0]
    assert (first.name, first.value, first.drifted, first.method) == ("category", "c", True, METHOD)
    assert first.share > 0.8
    assert first.cause.startswith("'c' 1")
    assert f"{first.share:.0%} of the change" in first.evidence
    assert [column.name for column in found.columns if column.drifted] == ["category"]
    assert found.recent == ((), (), ("category",))
    assert found.not_tested == ()


def test_the_windows_of_a_lasting_change_all_drift(log) -> None:
    assert judge(moved(log, weeks=3), 7).recent == (("category",),) * 3
    assert judge(log, 7).recent == ((), (), ())


def test_the_region_that_makes_the_change_is_named(still_log) -> None:
    log = still_log(np.random.default_rng(3), n_windows=40)
    first = judge(moved(log, region=1), 7).columns[0]
    assert (first.name, first.value) == ("category", "c")
    (part,) = first.parts
    assert (part.column, part.value) == ("region", "q")
    assert part.share > 0.8
    assert str(part) == f"region 'q' makes {part.share:.0%} of it ({part.of_events:.0%} of the events)"
    assert str(part) in first.evidence
    assert judge(moved(log), 7).columns[0].parts == ()  # every region makes about its share


def test_the_begin_of_a_log_does_not_hide_new_items(log) -> None:
    """Every item is new to a log that has just begun. That says nothing about how many usually are."""
    newest = np.flatnonzero(log.seconds > log.seconds.max() - WEEK)
    items = log.items.copy()
    items[newest[::12]] = log.items.max() + 1 + np.arange(newest[::12].size) % 20
    first = judge(replace(log, items=items), 7).columns[0]
    assert (first.name, first.drifted) == (NEW_ITEMS, True)
    assert re.fullmatch(r"share of the events 0\.\d% -> [89]\.\d%", first.change), first.change


def test_items_that_lose_their_sales_to_items_of_the_same_rank_change_the_item_mix(log) -> None:
    """Neither their category nor their popularity shows it."""
    newest = log.seconds > log.seconds.max() - WEEK
    moves = newest & (log.items % 2 == 1) & (np.arange(log.items.size) % 10 < 7)
    first, *others = judge(replace(log, items=np.where(moves, log.items - 1, log.items)), 7).columns
    assert (first.name, first.drifted) == (ITEM_MIX, True)
    assert re.fullmatch(r"difference of the items' shares 0\.\d\d, where 0 is none and 2 all", first.change)
    assert not any(column.drifted for column in others)


def test_users_who_leave_are_found_although_others_buy_as_much(log) -> None:
    """Two thirds of the users buy nothing any more: those with the fewest orders, a quarter of all."""
    orders = np.bincount(log.users[log.starts_order])
    small = np.argsort(orders)[: 2 * orders.size // 3]
    kept = ~np.isin(log.users, small) | (log.seconds <= log.seconds.max() - WEEK)
    found = judge(rows_of(log, kept), 7)
    assert [column.name for column in found.columns if column.drifted] == [ACTIVE_USERS]
    assert re.match(r"users with an event per window \d+ -> \d+", found.columns[0].change)


@pytest.mark.parametrize(
    ("column", "value"),
    [("category", 3), ("rating", 0), ("rating", 1), (POPULARITY, 0), (NEW_ITEMS, 0), (ACTIVITY, 0), (ACTIVE_USERS, 0)],
)
def test_what_the_events_add_sums_to_the_change(log, column, value) -> None:
    windows = aligned_windows(log.seconds, WEEK)
    last = len(windows) - 1
    change = changes(log, windows, last)[column]
    pair = compare(log, reference_windows(windows, last), windows[last])
    added = event_contributions(log, pair, column, value, change)
    assert added.sum() == pytest.approx(change.now[value] - change.before[value])


def test_orders_and_users_have_no_category(log) -> None:
    windows = aligned_windows(log.seconds, WEEK)
    last = len(windows) - 1
    category = np.zeros_like(log.labels["category"])  # all of it would be of one category
    one = replace(log, labels={"category": category}, names={"category": ("a", "b")})
    for column in (*VOLUMES, "new users"):
        assert parts(one, windows, last, column, 0, changes(one, windows, last)[column]) == ()


def test_the_share_of_a_label_is_that_of_the_changes_in_its_direction() -> None:
    effect = np.array([0.2, -0.15, 0.05, -0.1])
    assert own_share(Change(effect, effect, effect, effect), 0) == pytest.approx(0.8)
    assert own_share(Change(effect, effect, effect, effect), 1) == pytest.approx(0.6)


def test_a_short_log_is_not_tested(still_log) -> None:
    for n_windows, is_tested in ((HISTORY, False), (HISTORY + 1, True)):  # the first week is not complete
        found = judge(still_log(np.random.default_rng(0), n_windows=n_windows), 7)
        assert bool(found.columns) == is_tested
        if not is_tested:
            assert found.not_tested == (f"every column ({HISTORY - 1} windows of 7 days; {HISTORY} are needed)",)
            assert summarise(found.columns, found.not_tested).startswith("not tested: every column (12 windows of")


def test_columns_that_are_not_tested_have_a_reason(log) -> None:
    late = np.where(log.seconds > log.seconds.max() - 3 * WEEK, log.numbers["rating"], np.nan)
    numbers = {"rating": late, "log_quantity": np.full(late.size, np.nan)}
    reasons = judge(replace(log, numbers=numbers), 7).not_tested
    assert reasons == ("rating (too few past windows)", "log_quantity (not in this source)")
    late[-600:] = np.nan
    (reason, _) = judge(replace(log, numbers=numbers), 7).not_tested
    assert reason.startswith("rating (")
    assert reason.endswith(" known before, 0 now)")


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("log_unit_price", "geometric mean (0.99|1).* -> (1.9|2)"),
        ("rating", "mean -?0.0. -> 0.[6-8]."),
        (ACTIVITY, "orders per window 1[12]\\d -> 6[01]"),
    ],
)
def test_a_change_is_reported_in_the_units_of_the_column(log, column, text) -> None:
    now = log.seconds > log.seconds.max() - WEEK
    if column == ACTIVITY:
        changed = rows_of(log, ~now | (log.orders % 2 == 0))
    else:
        changed = replace(log, numbers={**log.numbers, column: log.numbers[column] + 0.7 * now})
    first = judge(changed, 7).columns[0]
    assert (first.name, first.drifted) == (column, True)
    assert re.match(text, first.change), first.change


def test_the_summary_names_the_largest_change_and_the_others() -> None:
    prices = ColumnDrift("log_unit_price", 8.0, 4.0, METHOD, True, "geometric mean 2 -> 3")
    regions = ColumnDrift(
        "region", 5, 4, METHOD, True, "'north' 10.0% -> 20.0%", "north", 0.9, (Part("segment", "shops", 0.7, 0.2),)
    )
    still = ColumnDrift("rating", 2.0, 4.0, METHOD, False, "mean 4.00 -> 4.01")
    assert prices.title == "unit_price"
    assert summarise((prices, regions, still), ()) == (
        "unit_price changed most: geometric mean 2 -> 3 (8.0 standard deviations, limit 4.0); "
        "also region: 'north' 10.0% -> 20.0%, 90% of the change; segment 'shops' makes 70% of it (20% of the events) "
        "(5.0 standard deviations, limit 4.0)"
    )
    assert summarise((still,), ()) == (
        "no drift; closest to its limit: rating, mean 4.00 -> 4.01 (2.0 standard deviations, limit 4.0)"
    )
    assert summarise((), ("a (not in this source)", "b (1 known before, 2 now)")) == (
        "not tested: a (not in this source), b (1 known before, 2 now)"
    )
