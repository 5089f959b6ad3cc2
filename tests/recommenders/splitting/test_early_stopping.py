"""Held-out events: disjoint from the rest, of whole visits, and later than what is known of their users."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.events.interactions import Interactions
from recommenders.splitting.early_stopping import (
    hold_out,
    last_window,
    latest_events,
    latest_visits,
    random_events,
    users_on_both_sides,
)


@pytest.fixture(scope="module")
def log(toy_events: Any) -> Interactions:
    """User 0: three visits. User 1: one visit of two events. User 2: one event. User 3: two visits."""
    pairs = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (2, 5), (3, 1), (3, 5)]
    return Interactions.from_table(toy_events(pairs, [0, 1, 9, 9, 4, 4, 5, 2, 8]))


def events(log: Interactions, mask: Any) -> set[tuple[int, int]]:
    return set(zip(log.user_rows[mask].tolist(), log.item_columns[mask].tolist(), strict=True))


def columns(log: Interactions, pairs: list[tuple[int, int]]) -> set[tuple[int, int]]:
    return {(user, int(np.flatnonzero(log.items.ids == f"i{item:02}")[0])) for user, item in pairs}


def test_each_mask_holds_what_it_says(log: Interactions) -> None:
    latest = [(0, 3), (0, 4), (1, 1), (1, 2), (2, 5), (3, 5)]
    assert events(log, latest_visits(log)) == columns(log, latest)
    assert events(log, latest_events(log)) == columns(log, [(0, 4), (1, 2), (2, 5), (3, 5)])
    assert events(log, last_window(log, 1.5)) == columns(log, [(0, 3), (0, 4), (3, 5)])
    assert events(log, last_window(log, 1.0)) == columns(log, [(0, 3), (0, 4)])  # one day before the end is too early
    assert events(log, last_window(log, 100.0)) == events(log, np.ones(len(log), np.bool_))
    assert users_on_both_sides(log, latest_visits(log)).tolist() == [0, 3]


def test_random_events_are_one_of_each_user(log: Interactions) -> None:
    drawn = {tuple(np.flatnonzero(random_events(log, np.random.default_rng(seed))).tolist()) for seed in range(20)}
    assert len(drawn) > 1
    for chosen in drawn:
        assert sorted(log.user_rows[list(chosen)].tolist()) == [0, 1, 2, 3]


def test_held_out_events_are_not_in_the_rest(log: Interactions) -> None:
    kept, held_out = hold_out(log, [latest_visits(log)], 1.0, 10, np.random.default_rng(0))
    assert held_out is not None
    assert held_out.user_rows.tolist() == [0, 3]
    assert len(kept) == len(log) - 3
    assert held_out.relevant.toarray().sum(axis=1).tolist() == [2, 1]
    assert held_out.histories.counts.tolist() == np.bincount(kept.user_rows)[[0, 3]].tolist()


def test_the_first_mask_with_users_on_both_sides_is_used(log: Interactions) -> None:
    nobody = np.ones(len(log), np.bool_)
    kept, held_out = hold_out(log, iter([nobody, latest_events(log)]), 0.5, 10, np.random.default_rng(0))
    assert held_out is not None
    assert len(held_out.user_rows) == 2  # half of the three users with an earlier event, rounded up
    assert len(kept) == len(log) - 2
    same, none = hold_out(log, [nobody, ~nobody], 0.5, 10, np.random.default_rng(0))
    assert same is log
    assert none is None


@given(st.integers(1, 5), st.floats(0.01, 1.0), st.integers(0, 99))
def test_no_more_users_than_allowed_are_held_out(log: Interactions, most: int, share: float, seed: int) -> None:
    kept, held_out = hold_out(log, [latest_events(log)], share, most, np.random.default_rng(seed))
    assert held_out is not None
    assert len(held_out.user_rows) == min(most, int(np.ceil(share * 3)))
    assert len(kept) + held_out.relevant.nnz == len(log)
    others = np.setdiff1d(np.arange(4), held_out.user_rows)
    before, after = np.bincount(log.user_rows, minlength=4), np.bincount(kept.user_rows, minlength=4)
    assert (before[others] == after[others]).all()
