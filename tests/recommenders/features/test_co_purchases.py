"""Counts of items in one order, compared with a plain count over all orders."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import contingency

from recommenders.events.histories import Histories
from recommenders.features.co_purchases import CoPurchases, log_likelihood_ratio

N_ITEMS = 6
orders = st.lists(st.lists(st.integers(0, N_ITEMS - 1), min_size=2, max_size=4), max_size=4)


def histories_of(users: list[list[list[int]]]) -> Histories:
    """Histories of users with orders (lists of items, also repeated ones); order n of a user is at time n."""
    columns = [item for user in users for order in user for item in order]
    times = [time for user in users for time, order in enumerate(user) for _ in order]
    sizes = [sum(map(len, user)) for user in users]
    return Histories(
        np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64),
        np.array(columns, dtype=np.int32),
        np.array(times, dtype=np.int64),
        np.ones(len(columns), np.float32),
        N_ITEMS,
    )


@settings(max_examples=60)
@given(st.lists(orders, min_size=1, max_size=5), st.integers(0, N_ITEMS - 1))
def test_counts_equal_a_plain_count(users, item):
    several = any(len(set(order)) > 1 for user in users for order in user)
    found = CoPurchases.from_histories(histories_of(users), dated=True)
    baskets = [[set(order) for order in user] for user in users]
    n_several = sum(len(order) > 1 for user in baskets for order in user)
    by_order = several and n_several >= 0.1 * sum(map(len, baskets))
    assert found.by_user == (not by_order)
    if not by_order:
        baskets = [[set().union(*user)] for user in baskets]
    together, expected = np.zeros(N_ITEMS), np.zeros(N_ITEMS)
    for user in baskets:
        n_with = sum(item in order for order in user)
        for other in set(range(N_ITEMS)) - {item}:
            together[other] += sum({item, other} <= order for order in user)
            expected[other] += n_with * sum(other in order for order in user) / max(len(user), 1)
    counts = found.of(item)
    np.testing.assert_array_equal(counts.together, together)
    np.testing.assert_allclose(counts.expected, expected)
    assert found.counts.tolist() == [sum(one in order for user in baskets for order in user) for one in range(N_ITEMS)]


def test_without_times_or_orders_of_several_items_all_events_of_a_user_are_one_order():
    single = histories_of([[[0], [1], [2]], [[1], [2]]])
    assert CoPurchases.from_histories(single, dated=True).by_user
    assert CoPurchases.from_histories(histories_of([[[0, 1], [1, 2]]]), dated=False).by_user
    assert CoPurchases.from_histories(single, dated=True).of(1).together.tolist() == [1, 0, 2, 0, 0, 0]
    assert not CoPurchases.from_histories(histories_of([[[0, 1], [1, 2]]]), dated=True).by_user


def test_the_ratio_is_that_of_a_contingency_table():
    together, counts, count, n_orders = np.array([4.0, 0.0, 5.0, 5.0]), np.array([9, 3, 5, 20]), 5, 20
    found = log_likelihood_ratio(together, count, counts, n_orders)
    for both, other, value in zip(together, counts, found, strict=True):
        table = np.array([[both, count - both], [other - both, n_orders - count - other + both]])
        if other == n_orders:  # in every order: it says nothing
            assert value == pytest.approx(0.0, abs=1e-9)
            continue
        expected = contingency.expected_freq(table)
        ratio = 2 * sum(np.where(table > 0, table * np.log(np.maximum(table, 1e-9) / expected), 0).ravel())
        assert value == pytest.approx(ratio)
