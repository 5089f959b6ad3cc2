"""What the shop of a drill reports: each purchase once, but for the faults of a scenario; no item before its launch."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from orchestration.drill.scenarios import BROKEN_DAYS, DAMAGED, OUTAGE_DAYS, SCENARIOS
from orchestration.drill.shop import K, Shop
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.market_days import MarketDays
from recommenders.simulation.purchase_model import make_world

FIRST, CHANGE = 100, 105  # days of the market
DAYS = range(FIRST, CHANGE + 10)


@pytest.fixture(scope="module")
def market() -> MarketDays:
    return MarketDays(make_world(WorldConfig(n_users=60, n_products=80, n_orders=700, days=70, seed=3)))


def reported(market: MarketDays, folder: Path, scenario: str) -> dict[int, list[dict[str, Any]]]:
    """The events that a service gets each day, from visits that were answered with the same list."""
    shop = Shop(market, folder, SCENARIOS[scenario], FIRST, CHANGE)
    got: dict[int, list[dict[str, Any]]] = {day: [] for day in DAYS}
    now = [FIRST]

    def answer(request: httpx.Request) -> httpx.Response:
        got[now[0]] += json.loads(request.content)["events"]
        return httpx.Response(200, json={})

    listed = {"request_id": "r", "items": [{"item_id": str(number)} for number in range(1, K + 1)]}
    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://shop") as service:
        for day in DAYS:
            now[0] = day
            for visit in market.visits(day):
                shop.report(service, visit, day, listed)
    return got


def purchases(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == "purchase"]


def test_every_purchase_is_reported_once_with_its_list_if_it_was_shown(market: MarketDays, tmp_path: Path) -> None:
    got = reported(market, tmp_path, "none")
    for day, events in got.items():
        lines = market.lines_between(day, day + 1)
        assert sorted((int(one["user_id"]), int(one["item_id"])) for one in purchases(events)) == sorted(
            zip((lines["user"] + 1).tolist(), (lines["product"] + 1).tolist(), strict=True)
        )
        clicked = {(one["user_id"], one["item_id"]) for one in events if one["event"] == "click"}
        from_list = {(one["user_id"], one["item_id"]) for one in purchases(events) if "request_id" in one}
        assert clicked == from_list
        assert all(int(item) <= K for _, item in clicked)
        times = {datetime.fromisoformat(one["timestamp"]).date() for one in events}
        assert times <= {market.world.config.first_date.fromordinal(market.world.config.first_date.toordinal() + day)}
    every = [event["event_id"] for events in got.values() for event in events]
    assert len(every) == len(set(every))


def test_a_broken_feed_damages_a_share_of_the_purchases_for_some_days(market: MarketDays, tmp_path: Path) -> None:
    sound, broken = (reported(market, tmp_path, name) for name in ("none", "broken_feed"))
    assert all((sound[day] == broken[day]) == (day not in range(CHANGE, CHANGE + BROKEN_DAYS)) for day in DAYS)
    before = [one for day in range(CHANGE, CHANGE + BROKEN_DAYS) for one in purchases(sound[day])]
    after = [one for day in range(CHANGE, CHANGE + BROKEN_DAYS) for one in purchases(broken[day])]
    price = {one["event_id"]: one["unit_price"] for one in before}
    kinds = Counter(
        "twice" if one["event_id"] not in price
        else "none" if "unit_price" not in one
        else "cents" if one["unit_price"] > 99 * price[one["event_id"]]
        else "sound"
        for one in after
    )  # fmt: skip
    assert kinds["sound"] + kinds["none"] + kinds["cents"] == len(before)
    for kind in ("none", "cents", "twice"):
        assert abs(kinds[kind] / len(before) - DAMAGED / 3) < 0.05


def test_an_outage_keeps_the_events_and_sends_all_of_them_later(market: MarketDays, tmp_path: Path) -> None:
    sound, late = (reported(market, tmp_path, name) for name in ("none", "feed_outage"))
    out = range(CHANGE, CHANGE + OUTAGE_DAYS)
    assert [day for day in DAYS if not late[day] and sound[day]] == [day for day in out if sound[day]]
    flat = [[event for day in DAYS for event in got[day]] for got in (sound, late)]
    assert flat[0] == flat[1]


def test_the_catalogue_knows_no_future(market: MarketDays, tmp_path: Path) -> None:
    shop = Shop(market, tmp_path / "shop", SCENARIOS["none"], FIRST, CHANGE)
    shop.export()
    now = shop.moment(FIRST)
    items = pq.read_table(tmp_path / "shop" / "products.parquet").to_pylist()
    assert 0 < len(items) < market.world.n_products
    assert all(item["launched_at"] <= now for item in items)
    assert all(item["ended_at"] is None or item["ended_at"] <= now for item in items)
    lines = pq.read_table(tmp_path / "shop" / "order_lines.parquet").to_pylist()
    assert max(line["ordered_at"] for line in lines) < now
    stored = (tmp_path / "shop" / "products.parquet").stat()
    shop.export_catalogue(FIRST)
    assert (tmp_path / "shop" / "products.parquet").stat() == stored  # the same items: not written again
    shop.export_catalogue(market.world.config.n_days)
    later = pq.read_table(tmp_path / "shop" / "products.parquet").to_pylist()
    assert {item["product_id"] for item in items} < {item["product_id"] for item in later}
    assert now.tzinfo is UTC
