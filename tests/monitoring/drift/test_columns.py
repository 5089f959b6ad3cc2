"""The columns of a drift report, on logs that are small enough to count by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitoring.drift import columns
from monitoring.drift.columns import NEW_ITEMS, NEW_USERS, EncodedLog, encode, popularity_places
from recommenders.storage.schema import INTERACTIONS, ITEMS, USERS, conform

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY, NAN = 86_400.0, float("nan")


def events(*rows: dict[str, Any]) -> pa.Table:
    """Purchases, one per row: item, user, day and other columns."""
    usual = {"user_id": "u", "item_id": "a", "event": "purchase", "weight": 1.0}
    table = [{**usual, "timestamp": START + timedelta(days=row.pop("day", 0)), **row} for row in map(dict, rows)]
    columns = {name: [row.get(name) for row in table] for name in INTERACTIONS.names}
    return conform(pa.table({n: pa.array(v, INTERACTIONS.field(n).type) for n, v in columns.items()}), INTERACTIONS, "")


def items(**categories: str | None) -> pa.Table:
    return conform(pa.table({"item_id": list(categories), "category": list(categories.values())}), ITEMS, "items")


def test_labels_come_from_items_and_users_and_rare_labels_become_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MAX_LABELS", 2)
    users = conform(pa.table({"user_id": ["u"], "segment": ["shops"], "region": [None]}), USERS, "users")
    reference = events(*({"item_id": item} for item in "aabbbc"))
    current = events({"item_id": "c"}, {"item_id": "c"}, {"item_id": "c"}, {"item_id": "d"}, {"user_id": "v"})
    log = encode(reference, current, items(a="anvils", b="bolts", c="chains", d=None), users)
    assert log.n_reference == 6
    assert log.names["category"] == ("bolts", "anvils", "other")  # the most common of the reference first
    assert log.labels["category"].tolist() == [1, 1, 0, 0, 0, 2, 2, 2, 2, -1, 1]
    assert log.labels["segment"].tolist() == [0] * 10 + [-1]
    assert set(log.labels["region"].tolist()) == {-1}
    assert set(encode(reference, current, items(a="anvils"), None).labels) == {"category"}


def test_numbers_are_logarithms_and_nan_where_there_is_none() -> None:
    log = encode(
        events({"unit_price": 0.5, "quantity": 0.0}), events({"unit_price": -1.0, "rating": 4.0}), items(), None
    )
    np.testing.assert_allclose(log.numbers["log_unit_price"], [np.log(0.5), NAN])
    np.testing.assert_allclose(log.numbers["log_quantity"], [NAN, NAN])
    np.testing.assert_allclose(log.numbers["rating"], [NAN, 4.0])


def test_a_price_in_another_unit_is_not_known_unless_most_are() -> None:
    """Three prices make the usual one of an item; item b has two."""
    reference = events(*({"item_id": item, "unit_price": 2.0} for item in "aaabb"))
    few = [
        {"unit_price": 200.0},
        {"unit_price": 9.9},
        {"unit_price": 0.4},
        {"item_id": "b", "unit_price": 200.0},
        {"unit_price": 3.0},
    ]
    found = encode(reference, events(*few), items(), None).numbers["log_unit_price"][5:]
    np.testing.assert_allclose(np.exp(found), [NAN, 9.9, NAN, 200.0, 3.0])
    most = [{"unit_price": 200.0}, {"unit_price": 210.0}, {"unit_price": 3.0}]
    found = encode(reference, events(*most), items(), None).numbers["log_unit_price"][5:]
    np.testing.assert_allclose(np.exp(found), [200.0, 210.0, 3.0])


@pytest.mark.parametrize(("n_values", "is_clipped"), [(20, False), (21, True)])
def test_tails_are_clipped_to_those_of_the_reference(n_values: int, is_clipped: bool) -> None:
    stars = np.arange(1.0, n_values + 1)
    log = encode(
        events(*({"rating": star} for star in stars)), events({"rating": 0.5}, {"rating": 900.0}), items(), None
    )
    low, high = np.quantile(stars, [0.005, 0.995]) if is_clipped else (0.5, 900.0)
    np.testing.assert_allclose(log.numbers["rating"][-2:], [low, high])
    np.testing.assert_allclose(log.numbers["rating"][:-2], np.clip(stars, low, high))


def test_without_order_ids_the_day_of_a_user_is_an_order() -> None:
    log = encode(
        events({"day": 0.1}, {"day": 0.9}, {"day": 1.1}, {"day": 0.5, "user_id": "v"}, {"day": 0.5, "order_id": "x"}),
        events({"day": 9, "order_id": "x"}),
        items(),
        None,
    )
    codes = log.orders.tolist()
    assert codes[0] == codes[1]
    assert codes[4] == codes[5]
    assert len(set(codes)) == 4
    assert log.seconds[0] == START.timestamp() + 0.1 * DAY


def log_of(items: list[int], users: list[int], orders: list[int], seconds: list[float]) -> EncodedLog:
    codes = (np.array(values, np.int32) for values in (items, users, orders))
    return EncodedLog(len(items), {}, {}, {}, *codes, np.array(seconds))


def test_the_first_events_of_orders_items_and_users() -> None:
    log = log_of(items=[0, 1, 0, 2], users=[0, 0, 1, 1], orders=[0, 0, 1, 1], seconds=[5.0, 5.0, 3.0, 4.0])
    assert log.starts_order.tolist() == [True, False, True, False]
    assert log.first_seen[NEW_ITEMS].tolist() == [3.0, 5.0, 3.0, 4.0]
    assert log.first_seen[NEW_USERS].tolist() == [5.0, 5.0, 3.0, 3.0]


def test_half_of_the_users_is_drawn_and_their_events_stay_together() -> None:
    users = np.repeat(np.arange(400), 3).tolist()
    log = log_of(users, users, users, [0.0] * 1200)
    assert np.mean(log.user_half) == pytest.approx(0.5, abs=0.06)
    assert set(log.user_half.reshape(400, 3).sum(axis=1).tolist()) == {0, 3}


def test_the_place_of_an_item_is_the_share_of_events_of_more_popular_items() -> None:
    sold = np.repeat(np.arange(4), [2, 5, 1, 2]).astype(np.int32)
    places = popularity_places(np.array([1, 0, 3, 2, 4], np.int32), sold)
    np.testing.assert_allclose(places, [0.25, 0.6, 0.8, 0.95, np.nan])  # item 4 was never sold
    assert popularity_places(sold, sold).mean() == pytest.approx(0.5)
    assert np.isnan(popularity_places(sold, np.empty(0, np.int32))).all()
