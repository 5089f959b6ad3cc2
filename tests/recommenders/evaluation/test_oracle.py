"""The oracle of a simulated market: better than popularity, below perfect knowledge, and as good as it claims."""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recommenders.datasets.catalog import dataset
from recommenders.datasets.spec import Tables
from recommenders.evaluation.oracle import Ceiling, oracle_figures, oracle_lists, world_ceilings
from recommenders.evaluation.tasks.task import make_case
from recommenders.metrics.ranking import K
from recommenders.models.recommender import mask_and_rank
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.files import write_world
from recommenders.simulation.orders import World, make_world
from recommenders.simulation.truth import history, purchase_probability
from recommenders.splitting.temporal import cut_time, split, training_log

SPEC = dataset("custom_b2b")
NAMES = [f"{name}@{K}" for name in ("precision", "recall", "ndcg", "hit_rate")]


@dataclass(frozen=True)
class Judged:
    world: World
    tables: Tables
    views: dict[str, Ceiling]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("market") / "world"
    write_world(folder, scale=0.1, seed=11)
    tables, world = SPEC.read(folder), make_world(WorldConfig.scaled(0.1, 11))
    return Judged(world, tables, world_ceilings(world, tables.interactions, tables.items, SPEC.protocol))


def test_the_oracle_beats_popularity_and_perfect_knowledge_beats_the_oracle(judged: Judged) -> None:
    assert list(judged.views) == ["all", "reorder", "discovery"]
    for view in judged.views.values():
        assert list(view.oracle) == list(view.popularity) == NAMES
        for name in NAMES:
            assert view.popularity[name].value < view.oracle[name].low
            assert view.oracle[name].value < view.perfect[name]
        assert 50 < view.n_users <= 200


def test_users_who_wanted_nothing_of_a_view_do_not_count_there(judged: Judged) -> None:
    week = replace(SPEC.protocol, test_days=4)
    found = world_ceilings(judged.world, judged.tables.interactions, judged.tables.items, week)
    parts = split(judged.tables.interactions, week)
    log = training_log(parts.filter(pc.field("part") != "test"), judged.tables.items, week, cut_time(parts))
    views = make_case(log, parts.filter(pc.field("part") == "test"), week).views()
    counted = {name: len(set(view.relevant.nonzero()[0].tolist())) for name, view in views.items()}
    assert {name: view.n_users for name, view in found.items()} == counted
    assert counted["discovery"] < counted["all"]


def test_the_oracles_hits_are_those_it_expects(judged: Judged) -> None:
    """Sum of the lists' probabilities against the realised hits of all buyers, those who bought nothing included."""
    newest = pc.max(judged.tables.interactions["timestamp"]).as_py()
    cut, times = newest - timedelta(days=30), judged.tables.interactions["timestamp"]
    before, after = (judged.tables.interactions.filter(mask) for mask in _parts(times, cut))
    known = np.unique(before["user_id"].to_numpy().astype(np.int64)) - 1
    past = history(judged.world, known, cut)
    probability = purchase_probability(judged.world, past, 30)
    bought = np.zeros((judged.world.config.n_buyers, judged.world.n_products), dtype=np.bool_)
    buyers, products = (after[name].to_numpy().astype(np.int64) - 1 for name in ("user_id", "item_id"))
    bought[buyers, products] = True
    best = np.argsort(-probability, axis=1)[:, :K]
    expected = np.take_along_axis(probability, best, axis=1).sum(axis=1)
    hits = np.take_along_axis(bought[known], best, axis=1).sum(axis=1)
    error = (hits - expected).std() / len(known) ** 0.5
    assert abs(hits.mean() - expected.mean()) < 4 * error


def test_the_oracle_knows_what_the_models_know_and_nothing_later(judged: Judged) -> None:
    """Its lists are those of the true probabilities at the cut: after all training events, before all test events."""
    parts = split(judged.tables.interactions, SPEC.protocol)
    test = parts.filter(pc.field("part") == "test")
    cut = pc.max(parts["timestamp"]).as_py() - timedelta(days=SPEC.protocol.test_days)
    assert cut_time(parts) <= cut < pc.min(test["timestamp"]).as_py()
    log = training_log(parts.filter(pc.field("part") != "test"), judged.tables.items, SPEC.protocol, cut)
    case = make_case(log, test, SPEC.protocol)
    found = oracle_lists(judged.world, case, log, case.views(), judged.tables.interactions, SPEC.protocol.test_days)
    past = history(judged.world, case.user_ids.astype(np.int64) - 1, cut)
    probability = purchase_probability(judged.world, past, SPEC.protocol.test_days)[:, log.items.ids.astype(int) - 1]
    np.testing.assert_array_equal(found["all"], mask_and_rank(probability, K, case.candidates).item_columns)
    known = case.histories.matrix.toarray() > 0
    chance = np.take_along_axis(np.where(known, 0, probability), found["discovery"], axis=1)
    best = -np.sort(-np.where(known | ~case.candidates, 0, probability), axis=1)[:, :K]
    np.testing.assert_array_equal(chance, best)  # of the rest, those a buyer does not know yet
    chance = np.take_along_axis(np.where(known, probability, 0), found["reorder"], axis=1)
    best = -np.sort(-np.where(known & case.candidates, probability, 0), axis=1)[:, :K]
    np.testing.assert_array_equal(chance, best)


def test_what_a_report_is_told_of_the_oracle_is_what_the_ceilings_say(judged: Judged) -> None:
    parts = split(judged.tables.interactions, SPEC.protocol)
    test = parts.filter(pc.field("part") == "test")
    log = training_log(parts.filter(pc.field("part") != "test"), judged.tables.items, SPEC.protocol, cut_time(parts))
    case = make_case(log, test, SPEC.protocol)
    found = oracle_figures(0.1, 11, case, log, parts, SPEC.protocol.test_days)
    assert list(found) == list(judged.views)
    for view, figures in found.items():
        assert {*NAMES, f"map@{K}", f"mrr@{K}"} == set(figures)
        assert judged.views[view].n_users == len(set(case.views()[view].relevant.nonzero()[0].tolist()))
        for name in NAMES:
            assert figures[name] == pytest.approx(judged.views[view].oracle[name].value)
    first = replace(case, relevant=case.relevant.multiply(case.histories.matrix.astype(bool)).tocsr())
    assert list(oracle_figures(0.1, 11, first, log, parts, SPEC.protocol.test_days)) == ["all", "reorder"]


def _parts(times: pa.ChunkedArray, cut: object) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    is_after = pc.greater(times, pa.scalar(cut, times.type))
    return pc.invert(is_after), is_after
