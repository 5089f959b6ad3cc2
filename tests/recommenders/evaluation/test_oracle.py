"""The oracle of a simulated market is above popularity, below the ceilings, and gets its expected hits."""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recommenders.datasets.all_datasets import dataset
from recommenders.datasets.spec import Tables
from recommenders.evaluation.oracle import Ceiling, oracle_lists, oracle_metrics, world_ceilings
from recommenders.evaluation.tasks.task import make_task
from recommenders.math.ranked import mask_and_rank
from recommenders.metrics.ranking import K
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.market_files import write_world
from recommenders.simulation.purchase_model import World, make_world
from recommenders.simulation.truth import history, purchase_probability
from recommenders.splitting.temporal import cut_time, split, training_log

SPEC = dataset("custom_b2b")
NAMES = [f"{name}@{K}" for name in ("precision", "recall", "ndcg", "hit_rate")]


@dataclass(frozen=True)
class Simulated:
    world: World
    tables: Tables
    views: dict[str, Ceiling]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    folder = tmp_path_factory.mktemp("market") / "world"
    write_world(folder, scale=0.1, seed=11)
    tables, world = SPEC.read(folder), make_world(WorldConfig.scaled(0.1, 11))
    return Simulated(world, tables, world_ceilings(world, tables.interactions, tables.items, SPEC.protocol))


def test_the_oracle_is_above_popularity_and_below_the_ceilings(simulated: Simulated) -> None:
    assert list(simulated.views) == ["all", "reorder", "discovery"]
    for view in simulated.views.values():
        assert list(view.oracle) == list(view.popularity) == NAMES
        for name in NAMES:
            assert view.popularity[name].value < view.oracle[name].low
            assert view.oracle[name].value < view.perfect[name]
        assert 50 < view.n_users <= 200


def test_users_without_relevant_items_in_a_view_do_not_count_there(simulated: Simulated) -> None:
    week = replace(SPEC.protocol, test_days=4)
    found = world_ceilings(simulated.world, simulated.tables.interactions, simulated.tables.items, week)
    parts = split(simulated.tables.interactions, week)
    log = training_log(parts.filter(pc.field("part") != "test"), simulated.tables.items, week, cut_time(parts))
    views = make_task(log, parts.filter(pc.field("part") == "test"), week).views()
    counted = {name: len(set(view.relevant.nonzero()[0].tolist())) for name, view in views.items()}
    assert {name: view.n_users for name, view in found.items()} == counted
    assert counted["discovery"] < counted["all"]


def test_the_oracle_gets_its_expected_hits(simulated: Simulated) -> None:
    """The sum of the lists' probabilities is near the hits of all users, with the users who bought nothing."""
    newest = pc.max(simulated.tables.interactions["timestamp"]).as_py()
    cut, times = newest - timedelta(days=30), simulated.tables.interactions["timestamp"]
    before, after = (simulated.tables.interactions.filter(mask) for mask in _parts(times, cut))
    known = np.unique(before["user_id"].to_numpy().astype(np.int64)) - 1
    past = history(simulated.world, known, cut)
    probability = purchase_probability(simulated.world, past, 30)
    bought = np.zeros((simulated.world.config.n_users, simulated.world.n_products), dtype=np.bool_)
    user_numbers, item_numbers = (after[name].to_numpy().astype(np.int64) - 1 for name in ("user_id", "item_id"))
    bought[user_numbers, item_numbers] = True
    best = np.argsort(-probability, axis=1)[:, :K]
    expected = np.take_along_axis(probability, best, axis=1).sum(axis=1)
    hits = np.take_along_axis(bought[known], best, axis=1).sum(axis=1)
    error = (hits - expected).std() / len(known) ** 0.5
    assert abs(hits.mean() - expected.mean()) < 4 * error


def test_the_oracle_uses_events_before_the_cut_only(simulated: Simulated) -> None:
    """Its lists are those of the true probabilities at the cut: after all training events, before all test events."""
    parts = split(simulated.tables.interactions, SPEC.protocol)
    test = parts.filter(pc.field("part") == "test")
    cut = pc.max(parts["timestamp"]).as_py() - timedelta(days=SPEC.protocol.test_days)
    assert cut_time(parts) <= cut < pc.min(test["timestamp"]).as_py()
    log = training_log(parts.filter(pc.field("part") != "test"), simulated.tables.items, SPEC.protocol, cut)
    task = make_task(log, test, SPEC.protocol)
    found = oracle_lists(
        simulated.world, task, log, task.views(), simulated.tables.interactions, SPEC.protocol.test_days
    )
    past = history(simulated.world, task.user_ids.astype(np.int64) - 1, cut)
    probability = purchase_probability(simulated.world, past, SPEC.protocol.test_days)[:, log.items.ids.astype(int) - 1]
    np.testing.assert_array_equal(found["all"], mask_and_rank(probability, K, task.candidates).item_columns)
    known = task.histories.matrix.toarray() > 0
    reached = np.take_along_axis(np.where(known, 0, probability), found["discovery"], axis=1)
    best = -np.sort(-np.where(known | ~task.candidates, 0, probability), axis=1)[:, :K]
    np.testing.assert_array_equal(reached, best)  # of the other items, those that the user does not know
    reached = np.take_along_axis(np.where(known, probability, 0), found["reorder"], axis=1)
    best = -np.sort(-np.where(known & task.candidates, probability, 0), axis=1)[:, :K]
    np.testing.assert_array_equal(reached, best)


def test_the_oracle_lists_candidates_only(simulated: Simulated) -> None:
    """Half of the items were withdrawn from sale; the lists are full of the others."""
    parts = split(simulated.tables.interactions, SPEC.protocol)
    test = parts.filter(pc.field("part") == "test")
    log = training_log(parts.filter(pc.field("part") != "test"), simulated.tables.items, SPEC.protocol, cut_time(parts))
    log = replace(log, available=log.available & (np.arange(len(log.items)) % 2 == 0))
    task = make_task(log, test, SPEC.protocol)
    of = task.views(), simulated.tables.interactions, SPEC.protocol.test_days
    for name, found in oracle_lists(simulated.world, task, log, *of).items():
        assert (found >= 0).all()
        assert log.available[found].all(), name


def test_the_oracle_metrics_of_a_report_equal_those_of_the_ceilings(simulated: Simulated) -> None:
    parts = split(simulated.tables.interactions, SPEC.protocol)
    test = parts.filter(pc.field("part") == "test")
    log = training_log(parts.filter(pc.field("part") != "test"), simulated.tables.items, SPEC.protocol, cut_time(parts))
    task = make_task(log, test, SPEC.protocol)
    found = oracle_metrics(0.1, 11, task, log, parts, SPEC.protocol.test_days)
    assert list(found) == list(simulated.views)
    for view, metrics in found.items():
        assert {*NAMES, f"map@{K}", f"mrr@{K}"} == set(metrics)
        assert simulated.views[view].n_users == len(set(task.views()[view].relevant.nonzero()[0].tolist()))
        for name in NAMES:
            assert metrics[name] == pytest.approx(simulated.views[view].oracle[name].value)
    first = replace(task, relevant=task.relevant.multiply(task.histories.matrix.astype(bool)).tocsr())
    assert list(oracle_metrics(0.1, 11, first, log, parts, SPEC.protocol.test_days)) == ["all", "reorder"]


def _parts(times: pa.ChunkedArray, cut: object) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    is_after = pc.greater(times, pa.scalar(cut, times.type))
    return pc.invert(is_after), is_after
