"""The report on the checkerboard, where the right lists are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.evaluation import lists
from recommenders.evaluation.criteria import ceilings
from recommenders.evaluation.plots import plot_learning_curve
from recommenders.evaluation.protocol import EvaluationConfig, make_case
from recommenders.evaluation.report import Report, evaluate
from recommenders.models.collaborative_filtering import CollaborativeFiltering
from recommenders.models.popularity import Popularity

PROTOCOL = Protocol(split="time_cut", repeat=True)
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def case(reorder_world: Any, toy_events: Any) -> Any:
    # u00 reorders i02 and finds i00's colour again; u01 finds one; u98 was never seen, i99 and i21 cannot be shown
    pairs = [(0, 2), (0, 4), (1, 3), (98, 2), (2, 99), (2, 21), (2, 6)]
    return make_case(reorder_world[0], toy_events(pairs, [100.0] * len(pairs)), PROTOCOL)


@pytest.fixture(scope="module")
def report(case: Any, reorder_world: Any) -> Report:
    log, features = reorder_world
    models = {"popularity": Popularity().fit(log), "collaborative_filtering": CollaborativeFiltering().fit(log)}
    return evaluate(models, case, features, dataset="toy", config=EvaluationConfig(n_bootstrap=200))


def test_cold_buyers_and_items_are_left_out_and_counted(case: Any) -> None:
    assert case.user_ids.tolist() == ["u00", "u01", "u02"]
    assert (case.cold_users, case.cold_items) == (1, 2)
    assert np.diff(case.relevant.indptr).tolist() == [2, 1, 1]


def test_reorder_and_discovery_share_out_what_is_relevant(case: Any) -> None:
    views = case.views()
    parts = views["reorder"].relevant.toarray() + views["discovery"].relevant.toarray()
    np.testing.assert_array_equal(parts, case.relevant.toarray())
    known = case.histories.matrix.toarray() > 0
    assert (views["reorder"].relevant.toarray()[~known] == 0).all()
    assert (views["discovery"].relevant.toarray()[known] == 0).all()
    assert views["discovery"].exclude_known


def test_where_nobody_comes_back_there_is_one_view(world: Any, toy_events: Any) -> None:
    once = make_case(world[0], toy_events([(0, 2)], [100.0]), Protocol(split="time_cut", repeat=False))
    assert list(once.views()) == ["all"]
    assert once.views()["all"].exclude_known


def test_a_window_without_known_buyers_cannot_be_judged(world: Any, toy_events: Any) -> None:
    with pytest.raises(DataError, match="nothing can be evaluated"):
        make_case(world[0], toy_events([(98, 2)], [100.0]), PROTOCOL)


def test_one_scoring_serves_all_views(case: Any, reorder_world: Any) -> None:
    model = CollaborativeFiltering().fit(reorder_world[0])
    ranked = lists.rank(model, case, case.views(), 5)
    for name, exclude in (("all", False), ("reorder", False), ("discovery", True)):
        alone = model.recommend(case.user_rows, case.histories, 5, case.candidates, exclude).item_columns
        np.testing.assert_array_equal(ranked[name], alone)


def test_ceilings_are_those_of_perfect_knowledge(case: Any) -> None:
    found = ceilings(case.relevant, case.candidates, 10)
    assert found["precision@10"] == pytest.approx(np.mean([0.2, 0.1, 0.1]))
    assert found["recall@10"] == found["ndcg@10"] == 1.0
    assert found["coverage@10"] == 1.0
    assert ceilings(case.relevant, case.candidates, 1)["coverage@1"] == pytest.approx(3 / 21)


def test_criteria_have_their_five_keys(report: Report) -> None:
    rows = report.criteria("collaborative_filtering")
    assert all(list(row) == ["metric", "target", "reached", "ceiling", "protocol"] for row in rows)
    assert [row["target"] for row in rows] == [0.85, 0.80, 0.82, 0.70, 100, 100]


def test_vectors_are_aligned_on_users_and_average_to_the_report(report: Report) -> None:
    vectors = report.vectors("ndcg@10")
    assert set(vectors) == {"popularity", "collaborative_filtering"}
    for name, values in vectors.items():
        assert len(values) == report.n_users
        assert np.nanmean(values) == pytest.approx(report.models[name]["ndcg@10"][0])


def test_no_figure_is_above_its_ceiling(report: Report) -> None:
    for metric, ceiling in report.ceilings["all"].items():
        for metrics in report.models.values():
            value = metrics[metric][0]
            assert value is not None
            assert value <= ceiling + 1e-9


def test_saved_and_loaded_it_says_the_same(report: Report, tmp_path: Path) -> None:
    folder = report.save(tmp_path / "report")
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md", "report.png", "per_user.parquet"}
    again = Report.load(folder)
    assert again.to_json() == report.to_json()
    assert again.per_user.equals(report.per_user)
    assert (folder / "report.png").read_bytes().startswith(PNG)


def test_the_page_names_models_targets_and_ceiling(report: Report) -> None:
    page = report.to_markdown()
    for words in ("popularity", "collaborative_filtering", "ndcg@10", "ceiling", "0.850", PROTOCOL.describe()):
        assert words in page


def test_a_curve_is_drawn_and_an_empty_one_refused() -> None:
    assert plot_learning_curve([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4}]).startswith(PNG)
    with pytest.raises(ValueError, match="no points"):
        plot_learning_curve([])
