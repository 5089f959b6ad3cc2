"""Held-out users: none of their events is in training, each one is in the history or relevant."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recommenders.errors import ConfigurationError, DataError
from recommenders.evaluation import rank
from recommenders.evaluation.evaluate import evaluate
from recommenders.evaluation.tasks.strong_generalisation import hold_out_users
from recommenders.events.interactions import Interactions
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.popularity import Popularity


def events_of(log: Interactions, user_id: str) -> list[str]:
    mine = log.user_rows == log.users.row(user_id)
    return [str(log.items.ids[column]) for column in log.item_columns[mine]]


def test_each_event_is_in_training_in_a_history_or_relevant(world: Any) -> None:
    log = world[0]
    training, task = hold_out_users(log, share=0.25, fold_in=0.5)
    held_out = set(task.user_ids.tolist())
    assert len(held_out) == 6
    assert (task.user_rows == -1).all()
    assert held_out.isdisjoint(training.users.ids.tolist())
    assert held_out | set(training.users.ids.tolist()) == set(log.users.ids.tolist())
    for user_id in training.users.ids.tolist():
        assert events_of(training, user_id) == events_of(log, user_id)
    for place, user_id in enumerate(task.user_ids.tolist()):
        known = [str(log.items.ids[column]) for column in task.histories[[place]].item_columns]
        relevant = {str(log.items.ids[column]) for column in task.relevant[[place]].indices}
        every = events_of(log, user_id)
        assert sorted(known) == sorted(every[: len(known)])  # the log is in time order, and so is the history
        assert relevant == set(every[len(known) :])
        assert len(known) == round(len(every) / 2)


def test_neighbour_models_use_the_history_and_popularity_does_not(world: Any) -> None:
    training, task = hold_out_users(world[0], share=0.25, fold_in=0.5)

    colours = np.array([int(user_id[1:]) % 2 for user_id in task.user_ids.tolist()])

    def of_their_colour(model: Any) -> float:
        ranked = rank.rank_users(model.fit(training), task, task.views(), 4)[
            "all"
        ]  # five items of the colour are not in the history
        return float((ranked % 2 == colours[:, None]).mean())

    assert of_their_colour(CollaborativeFiltering()) == 1.0
    assert of_their_colour(Popularity()) < 0.75


def test_the_report_evaluates_held_out_users(reorder_world: Any) -> None:
    training, task = hold_out_users(reorder_world[0])
    report = evaluate({"popularity": Popularity().fit(training)}, task, reorder_world[1])
    assert report.n_users == len(task.user_ids) == 2
    assert "strong generalisation: 10% of the users held out" in report.protocol
    assert list(report.views) == ["reorder", "discovery"]


def test_without_times_the_split_is_random(world: Any) -> None:
    log = replace(world[0], timestamps=np.zeros(len(world[0]), np.int64))
    drawn = [hold_out_users(log, seed=seed)[1] for seed in (1, 1, 2)]
    assert drawn[0].histories.item_columns.tolist() == drawn[1].histories.item_columns.tolist()
    assert drawn[0].user_ids.tolist() != drawn[2].user_ids.tolist()
    first = hold_out_users(log, share=0.5)[1]
    ordered = [
        np.all(np.diff(row.item_columns) > 0) for row in (first.histories[[i]] for i in range(len(first.user_ids)))
    ]
    assert not all(ordered)  # in the order of the file they would all ascend


def test_an_item_of_held_out_users_only_is_no_candidate(toy_events: Any) -> None:
    pairs = [(0, 0), (0, 1), (0, 9), (1, 0), (1, 1), (1, 2)]
    log = Interactions.from_table(toy_events(pairs, [float(day) for day in range(6)]), repeat=False)
    for seed in range(4):
        training, task = hold_out_users(log, share=0.1, fold_in=0.4, seed=seed)
        item = "i09" if task.user_ids[0] == "u00" else "i02"
        assert not task.candidates[log.items.row(item)]
        assert not training.available[log.items.row(item)]
        assert log.items.ids[task.relevant.indices].tolist() == ["i01"]


def test_invalid_shares_and_logs_are_errors(world: Any, toy_events: Any) -> None:
    with pytest.raises(ConfigurationError, match="share: got 1; allowed: between 0 and 1"):
        hold_out_users(world[0], share=1)
    with pytest.raises(ConfigurationError, match="fold_in: got 0"):
        hold_out_users(world[0], fold_in=0)
    single_events = Interactions.from_table(toy_events([(0, 0), (1, 1)], [0.0, 1.0]))
    with pytest.raises(DataError, match="no user can be held out: 0 of 2"):
        hold_out_users(single_events)


def log_of_counts(toy_events: Any, counts: list[int]) -> Interactions:
    """A log with a given number of events per user: item 1, or items 0, 1 ...; a user without events is in the map."""
    pairs = [(user, item) for user, n in enumerate(counts) for item in (range(n) if n > 1 else [1])]
    log = Interactions.from_table(toy_events(pairs, [float(item) for _, item in pairs]), repeat=False)
    return log.select(np.isin(log.user_rows, np.flatnonzero(np.array(counts))))


@pytest.mark.parametrize(
    ("counts", "share", "n_held_out"),
    [
        ([2, 2, 1, 3, 0], 0.3, 1),  # of the four users with events
        ([2, 2, 1, 3, 0], 0.4, 2),
        ([9, 9, 9, 9, 9], 0.01, 1),  # at least one
        ([2, 1, 1, 1], 0.9, 1),  # only the user with two events
        ([2, 2], 0.9, 1),  # one user is left for training
        ([2, 2, 0], 0.9, 1),
        ([2, 2, 1], 0.9, 2),
    ],
)
def test_the_share_of_held_out_users(counts: list[int], share: float, n_held_out: int, toy_events: Any) -> None:
    log = log_of_counts(toy_events, counts)
    training, _ = hold_out_users(log, share=share, fold_in=0.5)
    assert len(log.users) - len(training.users) == n_held_out
    assert len(training)


@pytest.mark.parametrize(("fold_in", "n", "n_known"), [(0.99, 3, 2), (0.01, 3, 1), (0.8, 2, 1), (0.5, 4, 2)])
def test_both_sides_get_at_least_one_event(fold_in: float, n: int, n_known: int, toy_events: Any) -> None:
    _, task = hold_out_users(log_of_counts(toy_events, [n, 1, 6, 6]), share=0.6, fold_in=fold_in, seed=3)
    place = task.user_ids.tolist().index("u00")
    assert len(task.histories[[place]].item_columns) == n_known
    assert task.relevant[[place]].nnz == n - n_known


def test_the_training_log_is_not_dated_and_items_without_events_stay(world: Any) -> None:
    log = world[0]
    training, task = hold_out_users(log, share=0.25)
    assert (training.dated, training.horizon_days) == (False, None)
    present = np.bincount(training.item_columns, minlength=len(log.items)) > 0
    gone = (np.bincount(log.item_columns, minlength=len(log.items)) > 0) & ~present
    np.testing.assert_array_equal(task.candidates, log.available & ~gone)
    assert (log.available & ~present & ~gone).any()
    assert "known items masked" in task.description
    assert "known items stay" in hold_out_users(replace(log, repeat=True))[1].description


def test_the_default_seed_is_42(world: Any) -> None:
    drawn = [hold_out_users(world[0], **given)[1] for given in ({}, {"seed": 42}, {"seed": 43}, {"seed": 41})]
    names = [task.user_ids.tolist() + task.histories.item_columns.tolist() for task in drawn]
    assert names[0] == names[1]
    assert names[0] not in names[2:]


def test_users_without_events_are_not_counted(toy_events: Any) -> None:
    with pytest.raises(DataError, match="no user can be held out: 0 of 2 have two"):
        hold_out_users(log_of_counts(toy_events, [1, 1, 0]))
