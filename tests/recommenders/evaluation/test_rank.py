"""Lists of a model for all views, on the checkerboard."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from recommenders.datasets.spec import Protocol
from recommenders.evaluation import rank
from recommenders.evaluation.tasks.task import make_task
from recommenders.math.ranked import Ranked
from recommenders.models.all_models import ENSEMBLES, model_class
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.recommender import BLOCK
from recommenders.storage.bundle import size_in_bytes

VIEWS = {"all": False, "reorder": False, "discovery": True}


class Counting(CollaborativeFiltering):
    """Records the number of users of each call of score()."""

    calls: tuple[int, ...] = ()

    def score(self, user_rows: Any, histories: Any) -> Any:
        self.calls = (*self.calls, len(user_rows))
        return super().score(user_rows, histories)


class ByCandidates(CollaborativeFiltering):
    """A model that makes its own lists: the lists of its scores in reverse order."""

    ranks_candidates = True
    calls = 0

    def recommend(self, *args: Any, **kwargs: Any) -> Ranked:
        self.calls += 1
        found = super().recommend(*args, **kwargs)
        return Ranked(found.item_columns[:, ::-1], found.scores[:, ::-1])


@pytest.fixture(scope="module")
def task(reorder_world: Any, toy_events: Any) -> Any:
    pairs = [(user, (user + 4) % 20) for user in range(24)]
    return make_task(reorder_world[0], toy_events(pairs, [100.0] * 24), Protocol(split="time_cut", repeat=True))


def test_a_block_is_scored_once_for_all_views(task: Any, reorder_world: Any) -> None:
    model = Counting().fit(reorder_world[0])
    ranked = rank.rank_users(model, task, task.views(), 5)
    assert model.calls == (24,)
    assert list(ranked) == list(VIEWS)
    for name, exclude in VIEWS.items():
        expected = model.recommend(task.user_rows, task.histories, 5, task.candidates, exclude).item_columns
        np.testing.assert_array_equal(ranked[name], expected)
    assert ranked["all"] is ranked["reorder"]


class AsServed(CollaborativeFiltering):
    """A model with block 1; it records the number of users and threads of each call."""

    block = 1
    calls: tuple[tuple[int, int], ...] = ()

    def score(self, user_rows: Any, histories: Any) -> Any:
        threads = max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        self.calls = (*self.calls, (len(user_rows), threads))
        return super().score(user_rows, histories)


@pytest.mark.parametrize("ranks_candidates", [True, False])
def test_models_for_release_are_called_as_in_serving(
    task: Any, reorder_world: Any, monkeypatch: pytest.MonkeyPatch, ranks_candidates: bool
) -> None:
    monkeypatch.setattr(AsServed, "ranks_candidates", ranks_candidates)
    model = AsServed().fit(reorder_world[0])
    with threadpool_limits(2):
        rank.rank_users(model, task, {"all": task.views()["all"]}, 3)
    assert model.calls == ((1, 1),) * 24
    assert all(model_class(name).block == 1 for name in ENSEMBLES)


def test_at_most_one_block_is_scored_at_once(task: Any, reorder_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    many = np.arange(BLOCK + 7) % len(task.user_rows)
    long = replace(
        task,
        user_ids=task.user_ids[many],
        user_rows=task.user_rows[many],
        histories=task.histories[many],
        relevant=task.relevant[many],
    )
    model = Counting().fit(reorder_world[0])
    ranked = rank.rank_users(model, long, long.views(), 3)
    assert model.calls == (BLOCK, 7)
    monkeypatch.setattr(rank, "MAX_SCORES", 1)  # less than one user's scores
    model.calls = ()
    rank.rank_users(model, task, task.views(), 3)
    assert model.calls == (1,) * 24
    monkeypatch.setattr(rank, "MAX_SCORES", 10 * long.histories.n_items)
    model.calls = ()
    np.testing.assert_array_equal(rank.rank_users(model, long, long.views(), 3)["discovery"], ranked["discovery"])
    assert max(model.calls) == 10
    short = rank.rank_users(model, task, task.views(), 3)
    for name in VIEWS:
        np.testing.assert_array_equal(ranked[name], short[name][many])


def test_a_model_that_ranks_candidates_makes_its_own_lists(task: Any, reorder_world: Any) -> None:
    model = ByCandidates().fit(reorder_world[0])
    ranked = rank.rank_users(model, task, task.views(), 5)
    assert model.calls == 2  # with and without the known items
    dense = rank.rank_users(CollaborativeFiltering().fit(reorder_world[0]), task, task.views(), 5)
    for name in VIEWS:
        np.testing.assert_array_equal(ranked[name], dense[name][:, ::-1])


def test_without_users_there_are_no_lists(task: Any) -> None:
    empty = replace(task, user_rows=task.user_rows[:0], histories=task.histories[:0])
    found = rank.rank_scores(lambda rows, known: np.zeros(known.shape, np.float32), empty, {False, True}, 4)
    assert {exclude: lists.shape for exclude, lists in found.items()} == {False: (0, 4), True: (0, 4)}


def test_the_latency_is_measured_on_single_users_from_first_to_last(
    task: Any, reorder_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[int], int]] = []
    clock = [1000.0]

    class Slow(CollaborativeFiltering):
        def recommend(self, user_rows: Any, histories: Any, k: int = 10, *args: Any, **kwargs: Any) -> Ranked:
            calls.append((user_rows.tolist(), len(histories)))
            clock[0] += len(calls) / 1000  # the first takes one millisecond, the second two
            return super().recommend(user_rows, histories, k, *args, **kwargs)

    monkeypatch.setattr(rank.time, "perf_counter", lambda: clock[0])
    model = Slow().fit(reorder_world[0])
    found = rank.latency(model, task, 3)
    assert calls == [([row], 1) for row in task.user_rows.tolist()]
    times = np.arange(1, len(calls) + 1)
    assert found == {"p50": pytest.approx(np.median(times)), "p95": pytest.approx(np.quantile(times, 0.95))}
    calls.clear()
    many = np.arange(250) % len(task.user_rows)
    long = replace(task, user_rows=np.arange(250, dtype=np.int32) % 24, histories=task.histories[many])
    rank.latency(model, long, 3)
    assert len(calls) == 100
    assert (calls[0][0], calls[-1][0]) == ([0], [249 % 24])


def test_the_sizes_of_bundle_and_context_are_those_of_a_saved_bundle(reorder_world: Any, tmp_path: Path) -> None:
    model = CollaborativeFiltering().fit(reorder_world[0])
    saved, context = model.save(tmp_path / "saved"), rank.context_bytes(model)
    assert context == size_in_bytes(saved / "contexts") > 0
    assert rank.bytes_on_disk(model) + context == pytest.approx(size_in_bytes(saved), rel=0.01)
