"""Lists on the checkerboard: what all views share is made once, what they do not is kept apart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from recommenders.datasets.spec import Protocol
from recommenders.evaluation import rank
from recommenders.evaluation.tasks.task import make_case
from recommenders.models.catalog import COMPOSED, model_class
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.recommender import BLOCK, Ranked
from recommenders.storage.bundle import size_in_bytes

VIEWS = {"all": False, "reorder": False, "discovery": True}


class Counting(CollaborativeFiltering):
    """Counts how often it is asked, and for how many buyers at most."""

    asked: tuple[int, ...] = ()

    def score(self, user_rows: Any, histories: Any) -> Any:
        self.asked = (*self.asked, len(user_rows))
        return super().score(user_rows, histories)


class ByCandidates(CollaborativeFiltering):
    """A model whose lists are its own affair: the same as its score gives, the other way round."""

    ranks_candidates = True
    asked = 0

    def recommend(self, *args: Any, **kwargs: Any) -> Ranked:
        self.asked += 1
        found = super().recommend(*args, **kwargs)
        return Ranked(found.item_columns[:, ::-1], found.scores[:, ::-1])


@pytest.fixture(scope="module")
def case(reorder_world: Any, toy_events: Any) -> Any:
    pairs = [(user, (user + 4) % 20) for user in range(24)]
    return make_case(reorder_world[0], toy_events(pairs, [100.0] * 24), Protocol(split="time_cut", repeat=True))


def test_a_block_is_scored_once_for_all_views(case: Any, reorder_world: Any) -> None:
    model = Counting().fit(reorder_world[0])
    ranked = rank.rank(model, case, case.views(), 5)
    assert model.asked == (24,)
    assert list(ranked) == list(VIEWS)
    for name, exclude in VIEWS.items():
        alone = model.recommend(case.user_rows, case.histories, 5, case.candidates, exclude).item_columns
        np.testing.assert_array_equal(ranked[name], alone)
    assert ranked["all"] is ranked["reorder"]


class AsServed(CollaborativeFiltering):
    """A model that answers one user at a time; it remembers how, and with how many threads."""

    block = 1
    asked: tuple[tuple[int, int], ...] = ()

    def score(self, user_rows: Any, histories: Any) -> Any:
        threads = max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        self.asked = (*self.asked, (len(user_rows), threads))
        return super().score(user_rows, histories)


@pytest.mark.parametrize("ranks_candidates", [True, False])
def test_what_may_be_released_is_asked_as_the_service_asks(
    case: Any, reorder_world: Any, monkeypatch: pytest.MonkeyPatch, ranks_candidates: bool
) -> None:
    monkeypatch.setattr(AsServed, "ranks_candidates", ranks_candidates)
    model = AsServed().fit(reorder_world[0])
    with threadpool_limits(2):
        rank.rank(model, case, {"all": case.views()["all"]}, 3)
    assert model.asked == ((1, 1),) * 24
    assert all(model_class(name).block == 1 for name in COMPOSED)


def test_never_more_than_a_block_is_scored(case: Any, reorder_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    many = np.arange(BLOCK + 7) % len(case.user_rows)
    long = replace(
        case,
        user_ids=case.user_ids[many],
        user_rows=case.user_rows[many],
        histories=case.histories[many],
        relevant=case.relevant[many],
    )
    model = Counting().fit(reorder_world[0])
    ranked = rank.rank(model, long, long.views(), 3)
    assert model.asked == (BLOCK, 7)
    monkeypatch.setattr(rank, "CELLS", 1)  # not even one user's scores
    model.asked = ()
    rank.rank(model, case, case.views(), 3)
    assert model.asked == (1,) * 24
    monkeypatch.setattr(rank, "CELLS", 10 * long.histories.n_items)
    model.asked = ()
    np.testing.assert_array_equal(rank.rank(model, long, long.views(), 3)["discovery"], ranked["discovery"])
    assert max(model.asked) == 10
    short = rank.rank(model, case, case.views(), 3)
    for name in VIEWS:
        np.testing.assert_array_equal(ranked[name], short[name][many])


def test_a_model_that_ranks_candidates_is_asked_for_its_lists(case: Any, reorder_world: Any) -> None:
    model = ByCandidates().fit(reorder_world[0])
    ranked = rank.rank(model, case, case.views(), 5)
    assert model.asked == 2  # with and without the known items
    dense = rank.rank(CollaborativeFiltering().fit(reorder_world[0]), case, case.views(), 5)
    for name in VIEWS:
        np.testing.assert_array_equal(ranked[name], dense[name][:, ::-1])


def test_no_buyers_no_lists(case: Any) -> None:
    nobody = replace(case, user_rows=case.user_rows[:0], histories=case.histories[:0])
    found = rank.rank_scores(lambda rows, known: np.zeros(known.shape, np.float32), nobody, {False, True}, 4)
    assert {exclude: some.shape for exclude, some in found.items()} == {False: (0, 4), True: (0, 4)}


def test_the_latency_is_that_of_single_users_from_the_first_to_the_last(
    case: Any, reorder_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[int], int]] = []
    clock = [1000.0]

    class Slow(CollaborativeFiltering):
        def recommend(self, user_rows: Any, histories: Any, k: int = 10, *args: Any, **kwargs: Any) -> Ranked:
            asked.append((user_rows.tolist(), len(histories)))
            clock[0] += len(asked) / 1000  # the first takes one millisecond, the second two
            return super().recommend(user_rows, histories, k, *args, **kwargs)

    monkeypatch.setattr(rank.time, "perf_counter", lambda: clock[0])
    model = Slow().fit(reorder_world[0])
    found = rank.latency(model, case, 3)
    assert asked == [([row], 1) for row in case.user_rows.tolist()]
    times = np.arange(1, len(asked) + 1)
    assert found == {"p50": pytest.approx(np.median(times)), "p95": pytest.approx(np.quantile(times, 0.95))}
    asked.clear()
    many = np.arange(250) % len(case.user_rows)
    long = replace(case, user_rows=np.arange(250, dtype=np.int32) % 24, histories=case.histories[many])
    rank.latency(model, long, 3)
    assert len(asked) == 100
    assert (asked[0][0], asked[-1][0]) == ([0], [249 % 24])


def test_a_bundle_on_disk_is_as_large_as_the_one_that_is_saved(reorder_world: Any, tmp_path: Path) -> None:
    model = CollaborativeFiltering().fit(reorder_world[0])
    assert rank.bytes_on_disk(model) == pytest.approx(size_in_bytes(model.save(tmp_path / "saved")), rel=0.01)
