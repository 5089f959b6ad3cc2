"""The features of the ranker, small enough to check by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recommenders.events.histories import DAY, Histories
from recommenders.features.ranking import (
    PAIR_FEATURES,
    USER_FEATURES,
    UserPairFeatures,
    mean_item_intervals,
    ranker_item_features,
)


def features_of(days: list[float], columns: list[int], *, known: bool = True, now: float = 100.0) -> UserPairFeatures:
    """The features of one user with events on those days."""
    histories = Histories(
        np.array([0, len(days)]),
        np.array(columns, np.int32),
        (np.array(days) * DAY).astype(np.int64),
        np.ones(len(days), np.float32),
        5,
    )
    return UserPairFeatures(histories, np.array([known]), int(now * DAY), dated=True, horizon_days=30.0)


def pair_features(
    user_pairs: UserPairFeatures, column: int, categories: tuple[int, ...] = (0, 0, 1, 1, 1)
) -> dict[str, float]:
    values = user_pairs.pairs(
        np.array([0]), np.array([column], np.int32), np.full(5, 20.0, np.float32), np.array(categories, np.int32)
    )
    return dict(zip(PAIR_FEATURES, values[0].tolist(), strict=True))


def test_pair_features_count_orders_not_lines() -> None:
    user_pairs = features_of([10, 40, 40, 70, 90], [1, 1, 1, 1, 2])  # two lines of one order on day 40
    found = pair_features(user_pairs, 1)
    assert found["pair_orders"] == pytest.approx(np.log1p(3))
    assert found["pair_order_share"] == pytest.approx(3 / 4)
    assert found["pair_days_since"] == pytest.approx(30)
    assert found["pair_orders_since"] == 1
    assert found["pair_interval"] == pytest.approx(30)
    assert found["pair_due"] == pytest.approx(1.0)
    assert found["pair_due_as_item"] == pytest.approx(30 / 20)
    assert found["pair_category_share"] == pytest.approx(4 / 5)
    assert found["pair_recent_short"] == pytest.approx(sum(2 ** (-age / 15) for age in (90, 60, 30)), rel=1e-5)
    user = dict(zip(USER_FEATURES, user_pairs.users[0].tolist(), strict=True))
    assert user["user_orders"] == pytest.approx(np.log1p(4))
    assert user["user_days_since_order"] == pytest.approx(10)
    assert user["user_days_between_orders"] == pytest.approx(80 / 3)


def test_an_interval_needs_two_orders() -> None:
    user_pairs = features_of([40, 70, 90], [1, 1, 2])
    twice, once = pair_features(user_pairs, 1), pair_features(user_pairs, 2)
    assert (twice["pair_interval"], twice["pair_due"]) == (30, 1)
    assert (once["pair_interval"], once["pair_due"], once["pair_days_since"]) == (-1, -1, 10)
    column = USER_FEATURES.index("user_days_between_orders")
    assert features_of([40, 70], [1, 2]).users[0, column] == 30
    assert features_of([40, 40], [1, 2]).users[0, column] == -1


def test_an_item_never_bought_has_no_purchase_features() -> None:
    found = pair_features(features_of([10, 40], [1, 1]), 3)
    assert found["pair_orders"] == found["pair_order_share"] == found["pair_recent_long"] == 0
    assert all(found[f"pair_{name}"] == -1 for name in ("days_since", "orders_since", "interval", "due"))


def test_a_cold_start_user_has_no_time_features() -> None:
    user_pairs = features_of([100, 100], [1, 2], known=False)
    found = pair_features(user_pairs, 1)
    assert found["pair_orders"] > 0
    assert found["pair_days_since"] == found["pair_interval"] == -1
    assert user_pairs.users[0, USER_FEATURES.index("user_days_since_order")] == -1


def test_item_features_do_not_grow_with_the_log(reorder_world: Any) -> None:
    log = reorder_world[0]
    twice = replace(
        log,
        **{
            name: np.repeat(getattr(log, name), 2)
            for name in ("user_rows", "item_columns", "timestamps", "weights", "strengths")
        },
    )
    once, doubled = ranker_item_features(log, 30.0), ranker_item_features(twice, 30.0)
    np.testing.assert_allclose(doubled[:, :6], once[:, :6], rtol=1e-5)
    assert mean_item_intervals(log, 30.0).shape == (len(log.items),)
    assert (mean_item_intervals(log, 30.0) > 0).all()


def test_features_of_many_users_are_those_of_each_user_alone(reorder_world: Any) -> None:
    log = reorder_world[0]
    rng = np.random.default_rng(0)
    histories = log.histories()[np.arange(6)]
    histories = histories.select(histories.rows != 2)  # a user without events
    known = np.array([True, False, True, True, False, True])
    rows = np.repeat(np.arange(6), 8)
    columns = rng.integers(0, len(log.items), len(rows)).astype(np.int32)
    intervals = rng.uniform(1, 30, len(log.items)).astype(np.float32)
    categories = rng.integers(0, 3, len(log.items)).astype(np.int32)
    now = int(log.timestamps.max())
    together = UserPairFeatures(histories, known, now, True, 30.0)
    pairs = together.pairs(rows, columns, intervals, categories)
    for user in range(6):
        alone, own = UserPairFeatures(histories[[user]], known[[user]], now, True, 30.0), rows == user
        np.testing.assert_array_equal(alone.users[0], together.users[user])
        found = alone.pairs(np.zeros(8, np.int64), columns[own], intervals, categories)
        np.testing.assert_array_equal(found, pairs[own])
