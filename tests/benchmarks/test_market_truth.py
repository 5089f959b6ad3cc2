"""Expected DCG by true purchase probabilities: exact sums, no list above the oracle's, and close to the purchases."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from measuring.synthetic.market_truth import buyer_probabilities, expected_dcg, window_probabilities

from recommenders.datasets.all_datasets import dataset
from recommenders.evaluation.oracle import oracle_lists
from recommenders.evaluation.window_task import window_task
from recommenders.models.popularity import Popularity
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.market_files import write_world
from recommenders.simulation.purchase_model import make_world

SCALE, SEED = 0.1, 11


def test_an_item_gains_its_probability_discounted_by_its_rank() -> None:
    probabilities = np.array([[0.5, 0.25, 0.0], [1.0, 1.0, 1.0]])
    lists = np.array([[1, 0, -1], [-1, -1, -1]], dtype=np.int32)
    assert expected_dcg(lists, probabilities) == pytest.approx([0.25 + 0.5 / np.log2(3), 0.0])


def test_no_list_beats_the_oracle_and_probabilities_are_those_of_the_window(tmp_path: Path) -> None:
    spec = dataset("custom_b2b")
    write_world(tmp_path / "world", scale=SCALE, seed=SEED)
    tables, days = spec.read(tmp_path / "world"), spec.protocol.test_days
    task = window_task(tables.interactions, tables.items, spec.protocol)
    cut = pc.max(tables.interactions["timestamp"]).as_py() - timedelta(days=days)
    probabilities = window_probabilities(SCALE, SEED, task.task, task.log.items, cut, days)
    assert probabilities.shape == (len(task.task.user_ids), len(task.log.items))

    world, views = make_world(WorldConfig.scaled(SCALE, SEED)), {"all": task.task.views()["all"]}
    best = expected_dcg(
        oracle_lists(world, task.task, task.log, views, tables.interactions, days)["all"], probabilities
    )
    candidate_probabilities = np.sort(np.where(task.task.candidates, probabilities, 0.0), axis=1)[:, : -10 - 1 : -1]
    assert best == pytest.approx((candidate_probabilities / np.log2(np.arange(2, 12))).sum(axis=1), rel=1e-6)
    popular = expected_dcg(task.lists(Popularity().fit(task.log)), probabilities)
    assert (popular <= best + 1e-9).all()
    assert popular.mean() < 0.9 * best.mean()
    # the users of the task are those who bought, so they bought more than expected of all users, but not of buyers
    buyers = buyer_probabilities(SCALE, SEED, task.task, cut, days)
    bought = task.task.relevant.sum()
    assert (buyers >= probabilities.max(axis=1)).all()
    assert 1.0 < bought / probabilities[:, task.task.candidates].sum() < 1.3
    assert bought / (probabilities / buyers[:, None])[:, task.task.candidates].sum() == pytest.approx(1.0, abs=0.05)
