"""All assets are materialised on a small market, with a persistent instance and a real MLflow store."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from monitoring.alerts.alert import Alert
from monitoring.alerts.listing import open_incidents
from orchestration.assets.evaluation_report import simulated_oracle_metrics
from orchestration.assets.release import version_tags
from orchestration.cli.exports import stops_of
from orchestration.cli.release import release_promote
from orchestration.launcher import platform_state
from orchestration.launcher.runs import RunFailedError, materialise, root_cause, upstream
from orchestration.resources import Dataset
from orchestration.settings import Settings
from recommenders.errors import DataError, ReleaseError
from recommenders.evaluation.tasks.task import make_task
from recommenders.evaluation.writers.markdown import render
from recommenders.events.interactions import Interactions
from recommenders.models import all_models
from recommenders.training.fitting import SkippedModel
from serving.champion.pointer import read_pointer, verify
from serving.release.challenger import promote_evaluated
from serving.release.registry import Registry

ROLLBACK = Alert("rolled back", "", "critical", "rollback", "custom_b2b", subject="version 0")
# models that a poor recipe does not need
LEFT_OUT = {name: {"enabled": False} for name in ("sasrec", "ials", "ease", "hybrid_learned")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, make_settings: Callable[..., Settings]) -> Settings:
    settings = make_settings(tmp_path_factory.mktemp("platform"))
    settings.alerts.send(ROLLBACK)
    materialise(settings)
    return settings


@pytest.mark.slow
def test_everything_materialises_and_a_champion_is_promoted(trained: Settings) -> None:
    with dg.DagsterInstance.from_config(str(trained.dagster_home)) as instance:
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.SUCCESS
        assert run.tags["dagster/partition"] == "custom_b2b"
    pointer = read_pointer(trained.pointer)
    assert pointer is not None
    assert pointer.version == 1
    champion = Registry(trained).champion("custom_b2b")
    assert champion is not None
    assert champion.number == 1
    assert {"data_version", "recipe", "cut", "trained_until", "configuration", "evaluation"} <= set(champion.tags)
    model = all_models.load(pointer.bundle_folder(trained.pointer))
    assert model.provenance["data_version"] == champion.tags["data_version"]
    assert len(list((trained.lake / "custom_b2b" / "contexts").glob("*.safetensors"))) == 1  # of all fitted models
    verify(pointer.bundle_folder(trained.pointer), pointer.bundle_sha256)  # complete without the lake
    assert open_incidents(trained.alerts.outbox) == []  # the promotion ended that of a rollback


@pytest.mark.slow
def test_asset_pages_show_metadata(trained: Settings) -> None:
    with dg.DagsterInstance.from_config(str(trained.dagster_home)) as instance:

        def metadata(name: str) -> dict[str, object]:
            event = instance.get_latest_materialization_event(dg.AssetKey(name))
            assert event is not None
            assert event.asset_materialization is not None
            return {key: value.value for key, value in event.asset_materialization.metadata.items()}

        assert metadata("interactions")["read"] == metadata("interactions")["rows"]
        assert "| " in str(metadata("interactions")["preview"])
        assert str(metadata("neural_collaborative")["learning curve"]).startswith(
            "![learning curve](data:image/png;base64,"
        )
        assert str(metadata("hybrid")["mlflow run"]).startswith(trained.urls["mlflow"])
        assert "data:image/png" in str(metadata("evaluation_report")["plot"])
        assert str(metadata("drift_report")["report"]).startswith(trained.urls["evidently"])


@pytest.mark.slow
def test_the_report_has_the_share_of_the_oracle_on_the_simulated_market_only(trained: Settings) -> None:
    report = platform_state.last_report(trained)
    assert list(report.oracle) == ["all", "reorder", "discovery"]
    popularity = report.models["popularity"]["ndcg@10"][0]
    assert popularity is not None
    assert popularity < report.oracle["all"]["ndcg@10"] <= 1
    page = render(report)
    assert "| ndcg@10, all | ndcg@10, reorder | ndcg@10, discovery |" in page
    assert f"{popularity:.3f} ({popularity / report.oracle['all']['ndcg@10']:.0%})" in page

    lake = trained.lake / "custom_b2b"
    log, split = Interactions.load(lake / "training_log"), pq.read_table(lake / "split.parquet")
    case = make_task(log, split.filter(pc.field("part") == "test"), trained.spec.protocol)
    dataset, training, other_log = Dataset(trained), trained.training, replace(log, version="of other files")
    assert simulated_oracle_metrics(dataset, training, case, log, split) == report.oracle
    assert simulated_oracle_metrics(dataset, training, case, other_log, split) == {}
    with_source = Dataset(trained.model_copy(update={"source": trained.home / "sources" / "custom_b2b"}))
    assert simulated_oracle_metrics(with_source, training, case, log, split) == {}


@pytest.mark.slow
def test_the_champion_stays_until_data_or_configuration_change(
    trained: Settings, tmp_path: Path, quick_configuration: Callable[..., Path]
) -> None:
    assert platform_state.is_current(trained)
    assert platform_state.bring_up_to_date(trained) == {}
    other = quick_configuration(tmp_path, content_based={"similarity_threshold": 0.5})
    assert not platform_state.is_current(Settings.read(home=trained.home, config=other))
    orders = trained.home / "sources" / "custom_b2b" / "order_lines.parquet"
    content = orders.read_bytes()
    try:
        pq.write_table(pq.read_table(orders).slice(1), orders)
        assert not platform_state.is_current(trained)
    finally:
        orders.write_bytes(content)


@pytest.mark.slow
def test_lists_for_all_users_are_sorted_and_full(trained: Settings) -> None:
    lists = pq.read_table(trained.lake / "custom_b2b" / "batch_recommendations.parquet").to_pandas()
    assert (lists.groupby("user_id").size() == 10).all()
    assert (lists.sort_values(["user_id", "rank"]).groupby("user_id")["score"].diff().dropna() <= 0).all()


@pytest.mark.slow
def test_a_candidate_below_popularity_is_stopped_before_it_is_registered(
    trained: Settings, tmp_path: Path, quick_configuration: Callable[..., Path]
) -> None:
    poor = quick_configuration(
        tmp_path,
        neural_collaborative={"epochs": 1, "learning_rate": 1e-9},
        hybrid={"model_weights": {"neural_collaborative": 1.0}},
        **LEFT_OUT,
    )
    before, settings = read_pointer(trained.pointer), Settings.read(home=trained.home, config=poor)
    with pytest.raises(RunFailedError, match="release_candidate_beats_popularity"):
        materialise(settings, upstream(settings, "champion"))
    assert read_pointer(trained.pointer) == before
    assert len(Registry(trained).versions("custom_b2b")) == 1


@pytest.mark.slow
def test_a_recipe_worse_than_the_champion_stays_a_challenger_until_it_is_forced(
    trained: Settings, tmp_path: Path, quick_configuration: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    simple = quick_configuration(
        tmp_path,
        hybrid={"model_weights": {"content_based": 1.0}},
        neural_collaborative={"enabled": False},
        repurchase={"enabled": False},
        **LEFT_OUT,
    )
    before = read_pointer(trained.pointer)
    settings = Settings.read(home=trained.home, config=simple)
    settings.alerts.send(replace(ROLLBACK, id="another"))
    materialise(settings, upstream(settings, "champion"))
    assert platform_state.is_trained(settings)
    assert "repurchase" not in platform_state.last_report(settings).models
    assert read_pointer(trained.pointer) == before
    registry = Registry(trained)
    with pytest.raises(ReleaseError, match="may be worse than"):
        promote_evaluated(registry, "custom_b2b", 2)
    assert [one.title for one in open_incidents(trained.alerts.outbox)] == [ROLLBACK.title]
    monkeypatch.setenv("TRADEWIND_HOME", str(trained.home))
    release_promote(2, "custom_b2b", force="a drill")
    assert open_incidents(trained.alerts.outbox) == []
    assert registry.version("custom_b2b", 2).gate_record["forced"] == "a drill"
    assert registry.rollback("custom_b2b").number == 1


def test_an_invalid_source_stops_the_run_with_its_own_error(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    (tmp_path / "retail.csv").write_text("<!DOCTYPE html><html>404</html>")
    settings = make_settings(tmp_path / "home", dataset="online_retail", source=tmp_path / "retail.csv")
    with pytest.raises(DataError, match=r"retail\.csv"):
        materialise(settings, upstream(settings, "interactions"))
    assert not (settings.lake / "online_retail" / "interactions.parquet").exists()


def test_a_failed_check_reports_its_numbers_and_is_shown_in_dagster_with_its_data_set(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    rows = "".join(f"5{n},85123A,HEART,6,2010-12-0{n} 08:26:00,2.55,17850,UK\n" for n in range(1, 4))
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    (tmp_path / "retail.csv").write_text(header + rows)
    settings = make_settings(tmp_path / "home", dataset="online_retail", source=tmp_path / "retail.csv")
    stop = r"^check interactions_volume failed: online_retail: 3 interactions are kept; at least 1,000 are needed"
    with pytest.raises(RunFailedError, match=stop):
        materialise(settings, upstream(settings, "split"))
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.FAILURE
        assert (
            run.remote_job_origin is not None
        )  # without it the run is not on the timeline, and no sensor finds its failure
        assert run.remote_job_origin.location_name == "tradewind"
        event = instance.get_latest_materialization_event(dg.AssetKey("interactions"))
        assert event is not None
        assert event.asset_materialization is not None
        assert next(iter(event.asset_materialization.metadata.items())) == (
            "dataset",
            dg.MetadataValue.text("online_retail"),
        )
        checks = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        assert {log.get_dagster_event().asset_check_evaluation_data.partition for log in checks} == {"online_retail"}


def test_a_log_without_a_user_who_can_be_evaluated_stops_the_run_before_anything_is_trained(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    start, rows = datetime(2011, 1, 1, 9), []
    for day in range(240):  # each user orders on one day only
        for line in range(5):
            user, time = 10_000 + day, start + timedelta(days=day)
            rows.append(f"{500_000 + day},{85_000 + line},HEART,6,{time},2.55,{user},United Kingdom\n")
    (tmp_path / "retail.csv").write_text(header + "".join(rows))
    settings = make_settings(tmp_path / "home", dataset="online_retail", source=tmp_path / "retail.csv")
    with pytest.raises(
        DataError, match=r"nothing can be evaluated: \d+ users have a purchase in the window, 0 of them"
    ):
        materialise(settings)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        (run,) = instance.get_runs()
        started = {e.step_key for e in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START)}
        assert "split" in started
        assert not started & {*settings.training.enabled(), "evaluation_report"}
    version = settings.tables.current()
    assert version is not None
    (reason,) = stops_of(settings, version)
    assert reason.startswith("no user can be evaluated: 0 users with a purchase")


def test_the_tags_of_a_version_have_its_data_set(tmp_path: Path, make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(tmp_path)  # whose configuration names custom_b2b
    model = SimpleNamespace(name="hybrid", provenance={})
    report = SimpleNamespace(dataset="online_retail", models={"hybrid": {}})
    tags = version_tags(settings.training, model, report, {})  # type: ignore[arg-type]
    assert json.loads(tags["configuration"])["data"]["dataset"] == "online_retail"


def test_a_model_that_was_too_large_is_fitted_once_it_may_use_more_memory(
    tmp_path: Path, quick_configuration: Callable[..., Path]
) -> None:
    def settings(megabytes: float) -> Settings:
        limited = quick_configuration(tmp_path / str(megabytes), {"max_memory_mb": megabytes})
        return Settings.read(home=tmp_path, config=limited)

    origin = {"data_version": "1", "recipe": settings(1.0).training.recipe(), "max_memory_mb": "1.0"}
    SkippedModel("ease", "too large", origin).save(settings(1.0).lake / "custom_b2b" / "ease")
    assert settings(1.0).training.recipe() == settings(50.0).training.recipe()
    assert not platform_state.may_use_more_memory(settings(1.0))
    assert platform_state.may_use_more_memory(settings(50.0))


def test_upstream_gives_the_assets_that_an_asset_is_made_from(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    names = upstream(make_settings(tmp_path), "split")
    assert {"raw_dataset", "interactions", "split"} <= set(names)
    assert "hybrid" not in names


def test_root_cause_is_the_wrapped_error() -> None:
    outer = RuntimeError("a step failed")
    outer.__cause__ = inner = DataError("the file is wrong")
    inner.__context__ = outer  # Dagster chains errors in cycles
    assert root_cause(outer) is inner
    assert root_cause(RuntimeError("alone")).args == ("alone",)
