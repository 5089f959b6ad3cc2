"""What lists are worth by the simulated market's law: exact sums, no list above the oracle's, and what came to pass."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from measuring.market_truth import bought_within, expected_dcg

from recommenders.datasets.catalog import dataset
from recommenders.evaluation.oracle import oracle_lists
from recommenders.evaluation.window import window_task
from recommenders.models.popularity import Popularity
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.files import write_world
from recommenders.simulation.orders import make_world

SCALE, SEED = 0.1, 11


def test_an_item_gains_its_chance_at_its_place() -> None:
    bought = np.array([[0.5, 0.25, 0.0], [1.0, 1.0, 1.0]])
    lists = np.array([[1, 0, -1], [-1, -1, -1]], dtype=np.int32)
    assert expected_dcg(lists, bought) == pytest.approx([0.25 + 0.5 / np.log2(3), 0.0])


def test_no_list_is_worth_more_than_the_oracle_s_and_chances_are_those_of_the_window(tmp_path: Path) -> None:
    spec = dataset("custom_b2b")
    write_world(tmp_path / "world", scale=SCALE, seed=SEED)
    tables, days = spec.read(tmp_path / "world"), spec.protocol.test_days
    question = window_task(tables.interactions, tables.items, spec.protocol)
    cut = pc.max(tables.interactions["timestamp"]).as_py() - timedelta(days=days)
    bought = bought_within(SCALE, SEED, question, cut, days)
    assert bought.shape == (len(question.task.user_ids), len(question.log.items))

    world, views = make_world(WorldConfig.scaled(SCALE, SEED)), {"all": question.task.views()["all"]}
    best = expected_dcg(
        oracle_lists(world, question.task, question.log, views, tables.interactions, days)["all"], bought
    )
    offered = np.sort(np.where(question.task.candidates, bought, 0.0), axis=1)[:, : -10 - 1 : -1]
    assert best == pytest.approx((offered / np.log2(np.arange(2, 12))).sum(axis=1), rel=1e-6)
    popular = expected_dcg(question.lists(Popularity().fit(question.log)), bought)
    assert (popular <= best + 1e-9).all()
    assert popular.mean() < 0.9 * best.mean()
    # those asked about are those who bought, so that they bought somewhat more than they were expected to
    assert 1.0 < question.task.relevant.sum() / bought[:, question.task.candidates].sum() < 1.3
