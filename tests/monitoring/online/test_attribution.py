"""The relations in SQL say what plain loops over lists and events say, whatever happened in which order."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitoring.online.attribution import Attribution, attributed
from monitoring.online.business import count_slots, find_sessions
from monitoring.online.quality import judge
from monitoring.online.reader import EVENTS, LISTS, OnlineReader
from monitoring.online.slices import figures, interval, label_users
from recommenders.storage.schema import USERS
from tests.conftest import WHOLE_SIZES
from tests.monitoring.online.conftest import DAY, HOUR, START

RULES = Attribution(click_hours=24, purchase_days=2, session_minutes=120)
TODAY = START // DAY


class Served(NamedTuple):
    request_id: str
    hours: int  # since the begin of the day that is judged
    user: str
    items: str


class Done(NamedTuple):
    sequence: int
    event: str
    hours: int
    user: str
    item: str
    request_id: str | None
    price: float | None


class Rows(OnlineReader):
    """A reader of rows in memory."""

    def __init__(self, lists: Sequence[Served], events: Sequence[Done]) -> None:
        self._lists, self._events = lists, events

    def lists(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        rows = [
            (one.request_id, START + one.hours * HOUR, one.user, "for_you", "known_user", 1, as_json(one.items))
            for one in self._lists
        ]
        yield from batches([row for row in rows if begin <= row[1] < end], LISTS)

    def events(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        rows = [
            (e.sequence, e.event, e.user, e.item, START + e.hours * HOUR, e.request_id, None, 2.0, e.price)
            for e in self._events
        ]
        yield from batches([row for row in rows if begin <= row[4] < end], EVENTS)


def as_json(items: str) -> str:
    return "[" + ", ".join(f'{{"item_id": "{item}", "rank": {rank}}}' for rank, item in enumerate(items, 1)) + "]"


def batches(rows: list[Any], schema: pa.Schema) -> list[pa.RecordBatch]:
    if not rows:
        return []
    columns = zip(zip(*rows, strict=True), schema, strict=True)
    return [pa.record_batch([pa.array(values, field.type) for values, field in columns], schema)]


Touch = tuple[int, str, int]  # event, list, slot


def by_loops(lists: Sequence[Served], events: Sequence[Done]) -> tuple[dict[str, float], set[Touch]]:
    """The figures and the touches of the day TODAY, by the definitions of docs/online-quality.md."""

    def slot_of(event: Done, places: set[tuple[str, str]], hours: float) -> tuple[str, str] | None:
        fit = [one for one in lists if one.user == event.user and (one.request_id, event.item) in places]
        fit = [one for one in fit if 0 <= event.hours - one.hours < hours]
        best = max(fit, key=lambda one: (one.request_id == event.request_id, one.hours, one.request_id), default=None)
        return None if best is None else (best.request_id, event.item)

    def day(one: Served) -> int:
        return one.hours // 24

    every = {(one.request_id, item) for one in lists for item in one.items}
    impressions = {slot_of(e, every, RULES.click_hours) for e in events if e.event == "impression"} - {None}
    with_impressions = {day(one) for one in lists if any((one.request_id, item) in impressions for item in one.items)}
    seen = {
        (one.request_id, item)
        for one in lists
        for item in one.items
        if day(one) not in with_impressions or (one.request_id, item) in impressions
    }
    shown = [one for one in lists if day(one) not in with_impressions or any(r == one.request_id for r, _ in seen)]
    clicked = {slot_of(e, seen, RULES.click_hours) for e in events if e.event == "click"}
    bought = [(slot_of(e, seen, RULES.purchase_days * 24), e) for e in events if e.event == "purchase"]
    windows = {"impression": RULES.click_hours, "click": RULES.click_hours, "purchase": RULES.purchase_days * 24}
    touched = {
        (e.sequence, slot_of(e, every if e.event == "impression" else seen, windows[e.event]))
        for e in events
        if e.event in windows
    }
    today = [one for one in shown if day(one) == 0]
    slots = {(one.request_id, item) for one in today for item in one.items} & seen

    per_user: dict[str, list[tuple[float, float, float, float]]] = {}
    for one in today:
        wanted = {
            e.item
            for e in events
            if (e.user, e.event) == (one.user, "purchase") and 0 <= e.hours - one.hours < RULES.purchase_days * 24
        }
        hits = [rank for rank, item in enumerate(one.items, 1) if item in wanted]
        if wanted and one.items:
            ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(one.items), len(wanted)) + 1))
            dcg = sum(1 / math.log2(rank + 1) for rank in hits)
            values = (len(hits) / len(one.items), len(hits) / len(wanted), dcg / ideal, float(bool(hits)))
            per_user.setdefault(one.user, []).append(values)
    metrics = np.mean([np.mean(values, axis=0) for values in per_user.values()], axis=0) if per_user else [math.nan] * 4

    sessions: list[tuple[bool, bool, float]] = []  # with a list, with a purchase, revenue
    for user in {one.user for one in today} | {e.user for e in events}:
        moments: list[Any] = [*(x for x in today if x.user == user), *(e for e in events if e.user == user)]
        moments = sorted((x for x in moments if 0 <= x.hours < 24), key=lambda x: x.hours)
        groups: list[list[Any]] = []
        for x in moments:
            if not groups or x.hours - groups[-1][-1].hours >= RULES.session_minutes / 60:
                groups.append([])
            groups[-1].append(x)
        for group in groups:
            purchases = [x for x in group if isinstance(x, Done) and x.event == "purchase"]
            spent = sum(2 * e.price for e in purchases if e.price is not None)
            sessions.append((any(isinstance(x, Served) for x in group), bool(purchases), spent))
    with_list = [s for s in sessions if s[0]]
    items = {one.request_id: one.items for one in today}
    sums = {
        "n_lists": len(today),
        "n_slots": len(slots),
        "n_clicked": len(clicked & slots),
        "n_bought": len({slot for slot, _ in bought} & slots),
        "revenue": sum(2 * (e.price or 0) for slot, e in bought if slot in slots),
        "n_judged_users": len(per_user),
        **dict(zip(("precision", "recall", "ndcg", "hit_rate"), metrics, strict=True)),
        "n_sessions": len(with_list),
        "n_other_sessions": len(sessions) - len(with_list),
        "n_converted": sum(s[1] for s in with_list),
        "spent": sum(s[2] for s in with_list),
    }
    touches = {
        (sequence, slot[0], items[slot[0]].index(slot[1]) + 1)
        for sequence, slot in touched
        if slot and slot[0] in items
    }
    return sums, touches


def by_sql(lists: Sequence[Served], events: Sequence[Done]) -> tuple[dict[str, float], set[Touch]]:
    with attributed(Rows(lists, events), RULES, START, START + DAY) as engine:  # type: ignore[arg-type]
        label_users(engine, USERS.empty_table())
        judge(engine, TODAY, RULES)
        count_slots(engine, TODAY)
        find_sessions(engine, TODAY, RULES)
        found = figures(engine)
        touches = engine.execute(
            f"select sequence, request_id, slot from touches join lists using (list) where day = {TODAY}"
        ).fetchall()
    (row,) = found[found["by"] == "all"].to_dict("records") or [None]
    (others,) = found[found["by"] == "no list"].to_dict("records") or [{"n_sessions": 0}]
    if row is None:  # no list was shown
        return {"n_lists": 0, "n_other_sessions": others["n_sessions"]}, set(touches)
    rates = {"n_converted": "conversion", "spent": "revenue_per_session"}
    names = ("n_lists", "n_slots", "n_clicked", "n_bought", "revenue", "n_judged_users", "n_sessions")
    sums = {
        **{name: row[name] for name in (*names, "precision", "recall", "ndcg", "hit_rate")},
        **{name: row[rate] * row["n_sessions"] for name, rate in rates.items()},
        "n_other_sessions": others["n_sessions"],
    }
    return sums, set(touches)


USER = st.sampled_from("uv")
ITEMS = st.lists(st.sampled_from("abcd"), unique=True, max_size=3).map("".join)
PRICE = st.sampled_from([1.0, 3.0])


@st.composite
def worlds(draw: Callable[..., Any]) -> tuple[list[Served], list[Done]]:
    """Lists and events of a few hours of some days, so that windows, days and sessions begin and end among them."""
    hour = st.integers(-50, 60) | st.integers(0, 24)
    lists = [Served(f"r{number}", *draw(st.tuples(hour, USER, ITEMS))) for number in range(draw(st.integers(0, 6)))]
    request = st.none() | st.sampled_from([one.request_id for one in lists] + ["no list"])
    kind = st.sampled_from(draw(st.sampled_from([["click", "purchase", "cart"], ["impression", "click", "purchase"]])))
    event = st.tuples(kind, hour, USER, st.sampled_from("abcd"), request, PRICE)
    return lists, [Done(number, *draw(event)) for number in range(draw(st.integers(0, 10)))]


LATER = [Served("r0", 0, "u", "a"), Served("r1", 2, "u", "ba")]
DAYS_BEFORE = [Served("r0", -50, "u", "a"), Served("r1", -45, "u", "a"), Served("r2", -44, "u", "b")]
TWO_SEEN = [Done(0, "impression", -40, "u", "a", "r0", None), Done(1, "impression", -40, "u", "b", "r2", None)]


@settings(max_examples=160 if WHOLE_SIZES else 16)
@given(worlds())
@example(([Served("r0", -1, "u", "a"), Served("r1", 1, "u", "a")], [Done(0, "click", 2, "u", "a", "r0", 1.0)]))
@example(([Served("r0", 1, "u", "a"), Served("r1", 1, "u", "ba")], [Done(0, "purchase", 1, "u", "a", None, 1.0)]))
@example(([Served("r0", 1, "v", "a"), Served("r1", 0, "u", "a")], [Done(0, "purchase", 1, "u", "a", "r0", 1.0)]))
@example((LATER, [Done(0, "click", 25, "u", "a", "r0", 1.0), Done(1, "click", 26, "u", "a", None, 1.0)]))
@example((LATER, [Done(0, "click", 24, "u", "a", "r0", 1.0), Done(1, "purchase", 49, "u", "b", None, 1.0)]))
@example((LATER, [Done(0, "impression", 3, "u", "a", "r0", 1.0), Done(1, "click", 4, "u", "a", "r1", 1.0)]))
@example((LATER, [Done(0, "impression", 3, "u", "a", "r1", 1.0), Done(1, "click", 4, "u", "b", "r1", 1.0)]))
@example(([Served("r0", -30, "u", "a"), *LATER[1:]], [Done(0, "purchase", 5, "u", "a", "r0", 1.0)]))
@example(([*DAYS_BEFORE, Served("r3", 1, "u", "a")], [*TWO_SEEN, Done(2, "purchase", 2, "u", "a", "r1", 1.0)]))
def test_the_figures_are_those_of_plain_loops(world: tuple[list[Served], list[Done]]) -> None:
    (expected, touches), (found, found_touches) = by_loops(*world), by_sql(*world)
    assert found == pytest.approx({name: expected[name] for name in found}, nan_ok=True)
    assert found["n_lists"] == expected["n_lists"]
    assert found_touches == touches


def test_an_interval_is_that_of_a_bootstrap_over_users() -> None:
    """A ratio of sums over 400 users with parts of different sizes, as clicks and slots are."""
    rng = np.random.default_rng(5)
    below = rng.integers(1, 40, 400).astype(np.float64)
    above = rng.binomial(below.astype(int), rng.beta(1, 6, 400)).astype(np.float64)  # users differ: clusters
    sums = [np.array([x]) for x in (400, above.sum(), below.sum(), above @ above, above @ below, below @ below)]
    value, low, high = interval(*sums, at_most_1=True)
    drawn = rng.multinomial(400, np.full(400, 1 / 400), size=4000)
    ends = np.percentile((drawn @ above) / (drawn @ below), [2.5, 97.5])
    assert value[0] == above.sum() / below.sum()
    assert (low[0], high[0]) == pytest.approx(ends, abs=0.05 * (ends[1] - ends[0]))
    binomial = 2 * 1.96 * math.sqrt(value[0] * (1 - value[0]) / below.sum())
    assert high[0] - low[0] > 1.5 * binomial  # of slots that were independent, it would be far too narrow


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.array([0.2, 0.4, 0.9])
    sums = [np.array([x]) for x in (3.0, values.sum(), 3.0, values @ values, values.sum(), 3.0)]
    value, low, high = interval(*sums, at_most_1=False)
    margin = 4.302653 * values.std(ddof=1) / math.sqrt(3)  # the quantile for 2 degrees of freedom
    assert (value[0], low[0], high[0]) == pytest.approx((0.5, 0.0, 0.5 + margin))
    alone = interval(*(np.array([x]) for x in (1.0, 0.2, 1.0, 0.04, 0.2, 1.0)), at_most_1=False)
    assert (alone[0][0], *map(math.isnan, (alone[1][0], alone[2][0]))) == (0.2, True, True)
