"""The report on the checkerboard, where the best lists are known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recommenders.datasets.spec import Protocol
from recommenders.evaluation.criteria import ceilings
from recommenders.evaluation.evaluate import evaluate
from recommenders.evaluation.rank import bytes_on_disk, context_bytes
from recommenders.evaluation.report import Report
from recommenders.evaluation.statistics.comparison import mean_interval
from recommenders.evaluation.tasks.task import EvaluationConfig, make_task
from recommenders.evaluation.writers import plots
from recommenders.evaluation.writers.markdown import comparison_table, criteria_table, render, slices_table
from recommenders.evaluation.writers.plots import plot_learning_curve, plot_report
from recommenders.evaluation.writers.report_folder import load_report, save_report
from recommenders.events.interactions import Interactions
from recommenders.metrics.ranking import all_metrics
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.content_based import ContentBased
from recommenders.models.popularity import Popularity
from recommenders.models.repurchase import Repurchase

PROTOCOL = Protocol(split="time_cut", repeat=True)
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def task(reorder_world: Any, toy_events: Any) -> Any:
    # u00 reorders i02 and buys a new item of its colour; u01 buys one; u98 is unknown; i99 and i21 are not available
    pairs = [(0, 2), (0, 4), (1, 3), (98, 2), (2, 99), (2, 21), (2, 6)]
    return make_task(reorder_world[0], toy_events(pairs, [100.0] * len(pairs)), PROTOCOL)


@pytest.fixture(scope="module")
def report(task: Any, reorder_world: Any) -> Report:
    log, features = reorder_world
    models = {"popularity": Popularity().fit(log), "collaborative_filtering": CollaborativeFiltering().fit(log)}
    models["popularity"].provenance |= {"fit_seconds": 0.25, "peak_memory_mb": 123}
    first = np.array([True, False, False])
    return evaluate(
        models,
        task,
        features,
        dataset="toy",
        config=EvaluationConfig(n_resamples=200),
        segments={"segment: first": first},
        oracle={view: {"ndcg@10": 0.8} for view in ("all", "reorder", "discovery")},
    )


def test_cold_users_and_items_are_left_out_and_counted(task: Any) -> None:
    assert task.user_ids.tolist() == ["u00", "u01", "u02"]
    assert (task.cold_users, task.cold_items) == (1, 2)
    assert np.diff(task.relevant.indptr).tolist() == [2, 1, 1]


def test_reorder_and_discovery_split_the_relevant_items(task: Any) -> None:
    views = task.views()
    parts = views["reorder"].relevant.toarray() + views["discovery"].relevant.toarray()
    np.testing.assert_array_equal(parts, task.relevant.toarray())
    known = task.histories.matrix.toarray() > 0
    assert (views["reorder"].relevant.toarray()[~known] == 0).all()
    assert (views["discovery"].relevant.toarray()[known] == 0).all()
    assert views["discovery"].exclude_known


def test_without_repeat_there_is_one_view(world: Any, toy_events: Any) -> None:
    once = make_task(world[0], toy_events([(0, 2)], [100.0]), Protocol(split="time_cut", repeat=False))
    assert list(once.views()) == ["all"]
    assert once.views()["all"].exclude_known


@settings(max_examples=30)
@given(st.lists(st.sets(st.integers(0, 29)), min_size=1, max_size=6).filter(any), st.integers(1, 12))
def test_ceilings_are_the_metrics_of_perfect_lists(wanted: list[set[int]], k: int) -> None:
    """Each list begins with the relevant items; users without relevant items count in no mean."""
    relevant = csr_array(np.array([[item in items for item in range(30)] for items in wanted], np.float32))
    perfect = np.array([[*items, *(item for item in range(30) if item not in items)][:k] for items in wanted], np.int32)
    reached = {name: np.nanmean(values) for name, values in all_metrics(perfect, relevant).items()}
    found = ceilings(relevant, np.ones(30, np.bool_), k)
    coverage = found.pop(f"coverage@{k}")
    assert found == pytest.approx(reached)
    assert coverage == pytest.approx(min(1, len(wanted) * k / 30))


def test_a_report_follows_its_configuration(task: Any, reorder_world: Any, tmp_path: Path) -> None:
    models = {"popularity": Popularity().fit(reorder_world[0])}
    config = EvaluationConfig(n_resamples=100, seed=7, criteria={"hit_rate@10": 0.5})
    default, own = evaluate(models, task), evaluate(models, task, config=config)
    assert default.wanted == EvaluationConfig().criteria
    assert own.wanted == {"hit_rate@10": 0.5}
    value, *interval = own.models["popularity"]["precision@10"]
    values = own.vectors("precision@10")["popularity"]
    assert (value, *interval) == pytest.approx(tuple(mean_interval(values, 100, seed=7)))
    assert own.megabytes["popularity"] == pytest.approx(bytes_on_disk(models["popularity"]) / 1e6, rel=0.05)
    assert load_report(save_report(own, tmp_path / "new" / "folder" / "report")).megabytes == own.megabytes


def test_the_context_counts_once_in_the_report_and_in_the_size_that_is_served(task: Any, reorder_world: Any) -> None:
    models = {"popularity": Popularity().fit(reorder_world[0]), "repurchase": Repurchase().fit(reorder_world[0])}
    report = evaluate(models, task, config=EvaluationConfig(criteria={"model_megabytes": 100}))
    context = report.context_megabytes
    assert context == pytest.approx(context_bytes(models["popularity"]) / 1e6)
    assert report.to_json()["context_megabytes"] == context
    for name in models:
        (row,) = report.criteria(name)
        assert row["reached"] == report.bundle_megabytes(name) == report.megabytes[name] + context
    larger = replace(report, context_megabytes=7.0)
    assert "All models share it: 7.0 MB." in render(larger)
    assert "All models share it" not in render(replace(report, context_megabytes=0.0))  # of an earlier version


def test_a_report_of_before_contexts_were_stored_apart_has_none(task: Any, reorder_world: Any, tmp_path: Path) -> None:
    folder = save_report(evaluate({"popularity": Popularity().fit(reorder_world[0])}, task), tmp_path / "report")
    stored = json.loads((folder / "report.json").read_text())
    del stored["context_megabytes"]
    (folder / "report.json").write_text(json.dumps(stored))
    assert load_report(folder).context_megabytes == 0


def test_the_ceiling_of_coverage_is_limited_by_the_candidates(task: Any) -> None:
    assert ceilings(task.relevant, task.candidates, 1)["coverage@1"] == pytest.approx(3 / 21)
    assert ceilings(task.relevant, np.zeros(22, np.bool_), 10) == {}  # without candidates there are no ceilings
    assert ceilings(csr_array((3, 22), dtype=np.float32), task.candidates, 10) == {}


@pytest.mark.parametrize("kinds", [("purchase",), ("view", "cart"), ("view", "cart", "purchase")])
def test_only_relevant_events_of_the_protocol_count(
    kinds: tuple[str, ...], reorder_world: Any, toy_events: Any
) -> None:
    of_kind = {"purchase": [(0, 2), (1, 3), (98, 2)], "view": [(0, 2), (0, 6), (3, 5)], "cart": [(4, 8), (0, 99)]}
    tables = {kind: toy_events(pairs, [100.0] * len(pairs)) for kind, pairs in of_kind.items()}
    place = tables["purchase"].schema.get_field_index("event")
    window = pa.concat_tables(
        [table.set_column(place, "event", pa.array([kind] * len(table))) for kind, table in tables.items()]
    )
    task = make_task(reorder_world[0], window, replace(PROTOCOL, relevant_events=kinds))
    found = {(task.user_ids[row], f"i{column:02}") for row, column in zip(*task.relevant.nonzero(), strict=True)}
    relevant = {(f"u{u:02}", f"i{i:02}") for kind in kinds for u, i in of_kind[kind] if u != 98 and i != 99}
    assert found == relevant
    assert task.cold_users == ("purchase" in kinds)
    assert task.cold_items == ("cart" in kinds)


def test_criteria_have_their_five_keys(report: Report) -> None:
    rows = report.criteria("collaborative_filtering")
    assert all(list(row) == ["metric", "target", "reached", "ceiling", "protocol"] for row in rows)
    assert [row["target"] for row in rows] == [0.85, 0.80, 0.82, 0.70, 100, 100]


def test_configured_criteria_replace_the_defaults_in_both_directions(report: Report, tmp_path: Path) -> None:
    gini = report.models["popularity"]["gini@10"][0]
    assert gini is not None
    wanted = {"hit_rate@10": 0.0, "diversity@10": 0.0, "gini@10": gini / 2, "response_ms": 1e9}
    config = EvaluationConfig(criteria=wanted, model_targets={"popularity": {"hit_rate@10": 0.5}})
    loaded = load_report(save_report(report.with_targets(config), tmp_path / "report"))
    assert {row["metric"]: row["target"] for row in loaded.criteria("popularity")} == wanted
    rows = [line.split(" | ") for line in criteria_table(loaded, "popularity").splitlines()[2:]]
    assert [cells[3] for cells in rows] == ["yes", "yes", "no", "yes"]
    assert [row["model"] for row in loaded.targets()] == ["popularity"]
    page = render(report.with_targets(EvaluationConfig(criteria={}, model_targets={})))
    assert "Success criteria" not in page
    assert "Targets of each model" not in page


def test_an_undefined_value_is_not_shown_as_zero(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {name: dict(metrics) for name, metrics in report.models.items()}
    models["collaborative_filtering"] |= {"ndcg@10": [0.0, None, None]}
    models["popularity"] |= {"ndcg@10": [0.0, None, None]}
    undefined = replace(report, models=models | {"popularity": models["popularity"] | {"ndcg@10": [None, None, None]}})
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "_png", drawn.append)
    plot_report(undefined)
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["undefined", "0.000"]
    assert slices_table(undefined).splitlines()[0].endswith("| collaborative_filtering | popularity |")
    row = next(line for line in render(undefined).splitlines() if line.startswith("| popularity |"))
    assert row.split(" | ")[3] == "-"
    others = {
        name: {"difference": [value, None, None], "p": None, "p_holm": None, "verdict": "open"}
        for name, value in {"unknown": None, "behind": -0.1}.items()
    }
    table = comparison_table({"metric": "ndcg@10", "best": "best", "others": others})
    assert table.index("| behind |") < table.index("| unknown |")


def test_vectors_are_aligned_on_users_and_average_to_the_report(report: Report) -> None:
    vectors = report.vectors("ndcg@10")
    assert set(vectors) == {"popularity", "collaborative_filtering"}
    for name, values in vectors.items():
        assert len(values) == report.n_users
        assert np.nanmean(values) == pytest.approx(report.models[name]["ndcg@10"][0])


def test_no_value_is_above_its_ceiling(report: Report) -> None:
    for metric, ceiling in report.ceilings["all"].items():
        for metrics in report.models.values():
            value = metrics[metric][0]
            assert value is not None
            assert value <= ceiling + 1e-9


def test_a_report_is_saved_and_loaded(report: Report, tmp_path: Path) -> None:
    folder = save_report(report, tmp_path / "report")
    assert {path.name for path in folder.iterdir()} == {"report.json", "report.md", "report.png", "per_user.parquet"}
    again = load_report(folder)
    assert again.to_json() == report.to_json()
    assert again.per_user.equals(report.per_user)
    assert (folder / "report.png").read_bytes().startswith(PNG)


def test_the_page_names_models_targets_and_ceiling(report: Report) -> None:
    page = render(report)
    for words in ("popularity", "collaborative_filtering", "ndcg@10", "ceiling", "0.850", PROTOCOL.describe()):
        assert words in page


def test_every_view_has_every_metric(report: Report) -> None:
    names = ("precision", "recall", "ndcg", "hit_rate", "map", "mrr", "diversity", "novelty", "serendipity")
    names += ("popularity_lift", "coverage", "personalisation", "gini")
    for models in (report.models, *report.views.values()):
        for metrics in models.values():
            assert list(metrics) == [f"{name}@10" for name in names]
            assert all(len(cell) == 3 for cell in metrics.values())


def test_the_best_is_compared_with_every_other_in_every_view(report: Report) -> None:
    assert report.undefined["discovery"]["users"] == report.n_users
    assert report.comparisons["discovery"] == {}  # no user has relevant new items: nothing to compare
    for view in ("all", "reorder"):
        compared = report.comparisons[view]
        models = report.models if view == "all" else report.views[view]
        means = {name: metrics["ndcg@10"][0] for name, metrics in models.items()}
        assert compared["best"] == max(means, key=lambda name: means[name] or 0)
        (other,) = set(means) - {compared["best"]}
        found = compared["others"][other]
        assert found["difference"][0] == pytest.approx(means[other] - means[compared["best"]])
        assert found["p_holm"] == found["p"]  # one comparison needs no correction
        assert found["n_users"] == report.n_users - report.undefined[view]["users"]


def test_slices_hold_the_metrics_of_their_users(report: Report) -> None:
    vectors = report.vectors("recall@10")
    first = report.slices["segment: first"]
    assert first["n_users"] == 1
    for name, metrics in first["models"].items():
        assert metrics["recall@10"] == [vectors[name][0], None, None]
    new, established = (report.slices[name] for name in report.slices if name.startswith(("new", "established")))
    assert new["n_users"] + established["n_users"] == report.n_users
    assert {"category: even", "category: odd"} <= set(report.slices)


def test_targets_are_compared_with_reached_values_and_ceilings(report: Report) -> None:
    rows = report.targets()
    assert {row["model"] for row in rows} == {"collaborative_filtering"}
    by_metric = {row["metric"]: row for row in rows}
    assert by_metric["precision@10"]["target"] == 0.80
    assert by_metric["precision@10"]["reached"] == report.models["collaborative_filtering"]["precision@10"][0]
    assert by_metric["precision@10"]["ceiling"] == report.ceilings["all"]["precision@10"]
    assert by_metric["diversity@10"]["ceiling"] is None
    assert "0.800 †" in render(report)  # three users with one or two relevant items each cannot fill ten places


def test_recorded_costs_are_reported(report: Report) -> None:
    assert report.costs == {"popularity": {"fit_seconds": 0.25, "peak_memory_mb": 123.0}, "collaborative_filtering": {}}
    row = next(line for line in render(report).splitlines() if line.endswith("| 123.0 |"))
    assert row.startswith("| popularity |")


def test_the_page_has_shares_of_the_oracle_only_if_there_is_one(report: Report, tmp_path: Path) -> None:
    reached = report.models["collaborative_filtering"]["ndcg@10"][0]
    assert reached is not None
    page = render(report)
    assert f"{reached:.3f} ({reached / 0.8:.0%})" in page
    assert "| criterion | target | reached | met | oracle | ceiling |" in page
    assert "| ndcg@10 | 0.820 |" in page
    assert next(line for line in page.splitlines() if line.startswith("| ndcg@10 ")).split(" | ")[4] == "0.800"
    folder = save_report(report, tmp_path / "report")
    stored = json.loads((folder / "report.json").read_text())
    for name in ("oracle", "slices", "comparisons", "costs"):  # a report of an earlier version
        del stored[name]
    (folder / "report.json").write_text(json.dumps(stored))
    old = load_report(folder)
    assert old.models == report.models
    assert "oracle" not in render(old)


def test_a_cold_start_task_is_evaluated_besides_the_main_one(task: Any, reorder_world: Any, tmp_path: Path) -> None:
    log, features = reorder_world
    models = {"popularity": Popularity().fit(log), "content_based": ContentBased().fit(log, features)}
    # i20 is even and has no events: it is relevant for the even users, and the only odd candidate is i05
    relevant = np.isin(np.arange(22), [20])[None, :] & (task.user_rows % 2 == 0)[:, None]
    new = replace(
        task,
        relevant=csr_array(relevant.astype(np.float32)),
        candidates=np.isin(np.arange(22), [5, 20]),
        description="cold items: ranked among two",
        split_views=False,
    )
    config = EvaluationConfig(n_resamples=100)
    report = evaluate(models, task, features, config=config, cold={"cold items": new})
    found = report.cold["cold items"]
    assert found["n_users"] == 3
    assert found["models"]["content_based"]["ndcg@10"][0] == pytest.approx(1.0)
    assert found["comparison"]["best"] == "content_based"
    assert found["ceilings"]["precision@10"] == pytest.approx(0.1)
    page = render(report)
    assert "## Cold items\n\nCold items: ranked among two. 3 users." in page
    assert "minus that of **content_based**" in page.partition("## Cold items")[2]
    assert render(load_report(save_report(report, tmp_path / "report"))) == page


def test_no_model_is_the_best_if_no_model_has_a_hit(task: Any, reorder_world: Any) -> None:
    log, features = reorder_world
    models = {"popularity": Popularity().fit(log), "content_based": ContentBased().fit(log, features)}
    out_of_reach = replace(task, candidates=np.zeros(22, np.bool_), description="no candidates", split_views=False)
    report = evaluate(models, task, features, config=EvaluationConfig(n_resamples=100), cold={"nothing": out_of_reach})
    assert "minus that of" not in render(report).partition("## Nothing")[2]


def test_without_item_features_there_is_no_diversity(task: Any, reorder_world: Any) -> None:
    model = Popularity().fit(reorder_world[0])
    plain = evaluate({"most bought": model}, task, config=EvaluationConfig(n_resamples=100))
    assert "diversity@10" not in plain.models["most bought"]
    assert "novelty@10" in plain.models["most bought"]
    assert not any(name.startswith("category") for name in plain.slices)
    assert "most bought" in render(plain)
    assert plot_report(plain).startswith(PNG)


@pytest.mark.parametrize("repeat", [False, True])
def test_a_catalogue_with_fewer_items_than_places_is_evaluated(repeat: bool, toy_events: Any) -> None:
    pairs = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 0), (2, 2)]
    log = Interactions.from_table(toy_events(pairs, [float(day) for day in range(len(pairs))]), repeat=repeat)
    protocol = replace(PROTOCOL, repeat=repeat)
    task = make_task(log, toy_events([(0, 2), (1, 0), (1, 1), (2, 1)], [50.0] * 4), protocol)
    models = {"popularity": Popularity().fit(log), "collaborative_filtering": CollaborativeFiltering().fit(log)}
    report = evaluate(models, task, config=EvaluationConfig(n_resamples=100))
    for metrics in report.models.values():
        assert (
            metrics["hit_rate@10"] == metrics["coverage@10"][:1] * 3 == [1.0] * 3
        )  # three items cannot fill ten places
        assert (metrics["recall@10"][0] == 1.0) is repeat  # the known items of user 1 are in the list only with repeat
    assert report.models["popularity"]["precision@10"][0] == pytest.approx((4 if repeat else 3) / 30)
    found = report.ceilings["all"]
    assert found["coverage@10"] == 1.0
    json.dumps(report.to_json(), allow_nan=False)
    assert "| popularity |" in render(report)
    assert plot_report(report).startswith(PNG)


def test_a_curve_is_plotted_and_an_empty_one_is_an_error() -> None:
    assert plot_learning_curve([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4}]).startswith(PNG)
    with pytest.raises(ValueError, match="no points"):
        plot_learning_curve([])
