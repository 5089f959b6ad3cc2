"""training_speed.py compares the same work, and keeps the lowest cost of rounds that are measured in turn."""

import time
from functools import partial
from typing import Any

import numpy as np
import pytest
import training_speed
from measuring.synthetic.logs import movielens_like

from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.ials.model import IALSConfig


def test_all_are_measured_in_turn_and_the_lowest_of_each_cost_counts() -> None:
    order: list[str] = []

    def measured(name: str, seconds: list[float], number: int) -> dict[str, Any]:
        order.append(f"{name}{number}")
        return {"fit_cpu": seconds[number], "ndcg": 0.1 + number}

    missing = lambda number: None  # noqa: E731
    mine, found = training_speed.measure_in_turn(
        partial(measured, "us", [3.0, 1.0, 2.0]), {"peer": partial(measured, "peer", [5.0, 6.0, 4.0]), "gone": missing}
    )
    assert order == ["us0", "peer0", "us1", "peer1", "us2", "peer2"]
    assert mine == {"fit_cpu": 1.0, "ndcg": 0.1}
    assert found == {"peer": {"fit_cpu": 4.0, "ndcg": 0.1}}


def test_seconds_an_epoch_are_the_slope_without_the_start() -> None:
    ends = [20.0 + 3.0 * epoch for epoch in range(4)]  # a slow start belongs to no epoch
    assert training_speed.seconds_an_epoch(ends) == pytest.approx(3.0)
    assert training_speed.seconds_an_epoch([end + 100.0 for end in ends]) == pytest.approx(3.0)
    uneven = [1.0, 3.0, 4.0, 7.0]
    assert training_speed.seconds_an_epoch(uneven) == pytest.approx(np.polyfit(range(4), uneven, 1)[0])


def test_the_same_job_is_plain_cosine_over_the_whole_history() -> None:
    """Against a dense formula: cosine of users, the nearest k, their items summed by similarity."""
    log, _ = movielens_like(60, 40, 1500)
    k = 7
    model = CollaborativeFiltering(
        CollaborativeFiltering.Config.model_validate({**training_speed.SAME_JOB, "n_neighbours": k})
    ).fit(log)
    scores = model.score(np.arange(60, dtype=np.int32), log.histories())
    users = log.matrix("binary").toarray().astype(np.float64)
    similarity = users @ users.T / np.outer(*[np.sqrt(users.sum(axis=1))] * 2)
    np.fill_diagonal(similarity, 0.0)
    for user in range(60):
        nearest = np.argsort(-similarity[user])[:k]
        if similarity[user, nearest[-1]] == np.sort(similarity[user])[-k - 1]:
            continue  # a tie: either neighbour is correct
        expected = similarity[user, nearest] @ users[nearest]
        np.testing.assert_allclose(scores[user] / scores[user].max(), expected / expected.max(), rtol=1e-4, atol=1e-5)


def test_ials_uses_as_many_steps_as_implicit_and_the_default_differs() -> None:
    assert training_speed.CG_STEPS == 3  # the fixed number of AlternatingLeastSquares
    assert IALSConfig().solver_steps != training_speed.CG_STEPS  # otherwise the row of the default is the same


@pytest.mark.parametrize("part", training_speed.PARTS)
def test_rows_without_peers_have_no_peer_and_no_ratio(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"fit_cpu": 2.0, "recommend_cpu": 1.0, "ndcg": 0.1, "peak_mb": 100.0, "ends": [1.0, 2.0, 3.0]}
    configs: list[dict[str, Any]] = []

    def ours(name: str, config: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        configs.append(config)
        return dict(found)

    monkeypatch.setattr(training_speed, "ours", ours)
    monkeypatch.setattr(training_speed, "theirs", lambda *_, **__: pytest.fail("a peer was run"))
    rows = training_speed.PARTS[part](movielens_like(30, 20, 400), False, 1)
    assert rows
    assert all(line["peer"] is None and line["ratio"] is None for line in rows)
    threads = [config["threads"] for config in configs if "threads" in config]
    assert all(count == 1 for count in threads)


def test_neighbour_rows_with_a_peer_are_of_the_same_job_and_others_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[dict[str, Any]] = []

    def ours(name: str, config: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        configs.append(config)
        return {"fit_cpu": 2.0, "recommend_cpu": 1.0 if config == training_speed.SAME_JOB else 0.5, "ndcg": 0.1}

    def theirs(peer: str, *_: Any, **__: Any) -> dict[str, Any]:
        return {"fit_cpu": 4.0, "recommend_cpu": 5.0, "ndcg": 0.1}

    monkeypatch.setattr(training_speed, "ours", ours)
    monkeypatch.setattr(training_speed, "theirs", theirs)
    rows = training_speed.user_neighbours(movielens_like(30, 20, 400), True, 1)
    assert configs[0] == training_speed.SAME_JOB
    for line in rows:
        assert ("other work than the peers'" in line["what"]) == (line["peer"] is None)
        if line["peer"]:
            assert "all pairs" in line["what"]
    fastest = next(line for line in rows if line["peer"] == "implicit" and line["unit"] == "CPU s")
    assert (fastest["ours"], fastest["ratio"], fastest["floor_met"]) == (3.0, 3.0, True)


def test_the_clock_records_the_processor_seconds_at_the_end_of_each_epoch() -> None:
    clock, before = training_speed.EpochClock(), time.process_time()
    for epoch in range(3):
        clock(epoch + 1, {"loss": 1.0})
    assert len(clock.ends) == 3
    times = [before, *clock.ends, time.process_time()]
    assert times == sorted(times)
