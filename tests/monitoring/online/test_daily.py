"""Figures by hand, and which days are judged again: late events, erased users, lists that the store deletes."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from monitoring.online import reader as reading
from monitoring.online.attribution import Attribution
from monitoring.online.daily import ONLINE_QUALITY, daily_values, online_quality
from monitoring.online.reader import OnlineReader
from recommenders.errors import DataError
from recommenders.storage.schema import USERS, conform
from serving.feedback.store import FeedbackStore
from tests.monitoring.online.conftest import DAY, START, Answer, Event

RULES = Attribution()
SEGMENTS = conform(pa.table({"user_id": ["u1", "u2", "u4"], "segment": ["shop", "office", ""]}), USERS, "users")
Fill = Callable[[str], FeedbackStore]


def judge(url: str, days: float = 9, earlier: pa.Table | None = None, **more: Any) -> pa.Table:
    """The result so many days after START."""
    given = {"rules": RULES, "kept_days": 30, "users": SEGMENTS, **more}
    return online_quality(OnlineReader(url, "toy"), now=round(START + days * DAY), earlier=earlier, **given)


def row(table: pa.Table, by: str = "all", value: str = "all", day: int = 20_000) -> dict[str, Any]:
    found = [r for r in table.to_pylist() if (r["by"], r["value"]) == (by, value)]
    (only,) = [r for r in found if (r["day"].toordinal() - 719_163) == day]
    return {name: math.nan if x is None else x for name, x in only.items()}


def part(table: pa.Table, *names: str, by: str = "all", value: str = "all") -> list[Any]:
    found = row(table, by, value)
    return [found[name] for name in names]


def test_the_figures_of_the_toy_lists_are_those_by_hand(either_url: str, fill: Fill) -> None:
    fill(either_url).close()
    table = judge(either_url)
    counts = ("n_lists", "n_judged", "n_users", "n_judged_users", "n_slots", "n_clicked", "n_bought", "n_sessions")
    # u3 bought nothing: that list is not judged
    assert part(table, *counts) == [4, 3, 3, 2, 8, 2, 2, 4]
    # u1: b and d are relevant for both lists; the first has b in its second slot, the other in its first. u2: a
    assert part(table, "precision", "recall", "ndcg", "hit_rate") == pytest.approx([0.5, 0.75, 0.75, 1])
    assert part(table, "click_through", "purchase_through") == [0.25, 0.25]
    # sessions: 8:00 and 10:00 of u1, 9:00 of u2 with a purchase, 9:00 of u3
    assert part(table, "conversion", "revenue_per_session", "average_order") == [0.25, 2.5, 10]
    assert part(table, "revenue", "shown_by", "mature") == [20, "answers", False]
    names = ("n_lists", "n_clicked", "n_bought", "n_sessions", "precision")
    assert part(table, *names, by="version", value="2") == [1, 1, 1, 1, 0.5]
    assert part(table, *names, by="user", value="known") == [2, 2, 1, 2, 0.5]
    assert part(table, *names, by="user", value="cold-start") == [1, 0, 1, 1, 0.5]  # no list of the scene basket
    assert part(table, *names, by="segment", value="office") == [1, 0, 1, 1, 0.5]
    assert part(table, "n_lists", "n_judged", by="scene", value="basket") == [1, 0]
    assert math.isnan(row(table, "scene", "basket")["precision"])
    assert part(table, "n_slots", "n_clicked", "n_bought", by="slot", value="1") == [4, 1, 2]
    assert part(table, "n_slots", "n_clicked", "n_bought", by="slot", value="2") == [4, 1, 0]
    assert {r["value"] for r in table.to_pylist() if r["by"] == "segment"} == {"shop", "office"}
    assert set(table["day"].to_pylist()) == {row(table)["day"]}  # the days after it have events, but no list


def test_with_impressions_only_seen_lists_and_slots_count(url: str, fill: Fill, event: Event) -> None:
    store = fill(url)
    seen = [event("i1", "impression", "u1", "b", 8.1, request_id="r1"), event("i2", "impression", "u2", "a", 9.1)]
    store.append(seen)
    table = judge(url)
    # r2 was not seen, so its click and purchase are those of the same slot of r1
    assert part(table, "shown_by", "n_lists", "n_users", "n_slots", "n_clicked", "n_bought", "n_sessions") == [
        *("impressions", 2, 2, 2, 1, 2, 2)
    ]
    assert part(table, "revenue", "click_through") == [20, 0.5]
    # r1 is still judged by both of its slots
    assert part(table, "precision", "ndcg") == pytest.approx(
        [0.5, (1 + (1 / math.log2(3)) / (1 + 1 / math.log2(3))) / 2]
    )
    # the clicks of u1 at 10:00, after no list that was seen
    assert part(table, "n_sessions", "conversion", by="no list", value="no list") == [1, 0]
    store.close()


def test_a_day_is_judged_again_until_it_is_mature(url: str, fill: Fill, event: Event) -> None:
    store = fill(url)
    early = judge(url, 2)
    assert part(early, "mature", "n_bought", "revenue") == [False, 2, 20]
    late = event("late", "purchase", "u1", "a", 20, unit_price=3.0)
    store.append([late, late])  # sent twice
    store.append([late])
    table = judge(url, 2, early)
    assert part(table, "mature", "n_bought", "revenue") == [False, 3, 23]
    store.append([event("last", "click", "u2", "z", 8 * 24)])  # from now on all windows are over
    table = judge(url, 9, table)
    assert part(table, "mature", "n_bought", "revenue") == [True, 3, 23]
    store.append([replace(late, event_id="too late", item_id="b", user_id="u3")])
    assert judge(url, 10, table).equals(table)
    again = judge(url, 10, table, rules=replace(RULES, click_hours=12.0))
    assert part(again, "mature", "n_bought") == [True, 4]  # other windows: judged anew
    assert judge(url, 40, again, rules=RULES, kept_days=30).equals(again)  # the store may have deleted lists
    store.close()


def test_an_event_of_the_future_makes_no_day_mature(url: str, fill: Fill, event: Event) -> None:
    store = fill(url)
    store.append([event("wrong clock", "click", "u2", "z", 24 * 300)])
    assert part(judge(url), "mature") == [False]
    store.close()


def test_an_erased_user_counts_no_more_unless_the_day_is_final(url: str, fill: Fill, event: Event) -> None:
    store = fill(url)
    store.append([event("last", "click", "u2", "z", 8 * 24)])
    final, open_ = judge(url, 9), judge(url, 5)
    store.erase("u1")
    assert part(judge(url, 5, open_), "n_users", "n_lists") == [2, 2]
    assert judge(url, 9, final).equals(final)
    assert not {"u1", "r1", "1"} & {x for name in ("by", "value") for x in final[name].to_pylist()} - {"1"}
    store.close()


def test_without_lists_the_result_is_empty(url: str, event: Event, tmp_path: Path) -> None:
    assert judge(url).equals(ONLINE_QUALITY.empty_table())
    assert not (tmp_path / "events.db").exists()
    store = FeedbackStore(url, "toy")
    store.append([event("1", "click", "u1", "b", 1)])
    assert judge(url).num_rows == 0
    assert daily_values(OnlineReader(url, "toy"), START, RULES, 14) == []
    store.close()
    (tmp_path / "events.db").write_text("no database, but a text that is long enough to be taken for a broken one" * 20)
    with pytest.raises(DataError, match=r"toy: the feedback store cannot be read: .*TRADEWIND_FEEDBACK_URL"):
        judge(url)


def test_unknown_prices_are_no_revenue_of_zero(url: str, answer: Answer, event: Event) -> None:
    store = FeedbackStore(url, "toy")
    store.append_answers([answer("r1", "u1", 8, "ab"), answer("r2", "u2", 8, "abcdefghijkl")])
    bought = event("1", "purchase", "u1", "b", 8.1, order_id="o")
    store.append([bought, replace(bought, event_id="2", item_id="a"), event("3", "click", "u2", "l", 8.1)])
    found = row(judge(url, 2))
    assert [found[name] for name in ("conversion", "n_orders", "n_bought")] == [0.5, 1, 2]
    assert all(math.isnan(found[name]) for name in ("revenue", "revenue_per_session", "average_order"))
    assert part(judge(url, 2), "n_slots", "n_clicked", by="slot", value="after 10") == [2, 1]
    store.append([replace(bought, event_id="4", order_id=None, unit_price=7.0)])
    found = row(judge(url, 2))
    assert [found[name] for name in ("n_orders", "revenue", "revenue_per_session", "average_order")] == [2, 7, 3.5, 3.5]
    store.close()


def test_the_daily_values_are_those_that_the_figures_are_means_of(url: str, fill: Fill, answer: Answer) -> None:
    store = fill(url)
    store.append_answers([answer("r5", "u1", 30, "dc"), answer("r6", "u2", 31, "xy")])
    table = judge(url)
    days = daily_values(OnlineReader(url, "toy"), START + 9 * DAY, RULES, 14, "recall")
    assert [(one.day, one.version, one.mature, one.user_ids, one.n) for one in days] == [
        (20_000, 1, False, ["u1", "u2"], 2),
        (20_000, 2, False, ["u1"], 1),
        (20_001, 1, False, ["u1", "u2"], 2),  # u2 bought c within seven days of r6
    ]
    for one in days:
        figure = row(table, day=one.day, by="version", value=str(one.version))["recall"]
        assert one.sum / one.n == pytest.approx(figure)
    assert len(daily_values(OnlineReader(url, "toy"), START + 9 * DAY, RULES, 8)) == 1  # of the last 8 days
    store.close()


def test_lists_and_events_are_read_in_pages(either_url: str, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the memory that a day takes does not depend on the number of its lists."""
    fill(either_url).close()
    monkeypatch.setattr(reading, "PAGE", 3)
    reader = OnlineReader(either_url, "toy")
    assert [page.num_rows for page in reader.lists(START, START + DAY)] == [3, 1]
    assert sorted(page.num_rows for page in reader.events(START, START + DAY)) == [2, 3]
    assert list(reader.lists(START + DAY, START + 2 * DAY)) == []
    assert row(judge(either_url))["n_lists"] == 4
