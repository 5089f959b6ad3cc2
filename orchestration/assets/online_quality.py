"""The assets that judge the served lists: on what their users did next, day by day and over time; on what they show."""

from typing import Any

import dagster as dg
import pyarrow as pa

from monitoring.alerts.alert import Alert, Cause
from monitoring.online.attribution import DAY, Attribution
from monitoring.online.daily import ONLINE_QUALITY, daily_values
from monitoring.online.daily import online_quality as judge_days
from monitoring.online.falls import QualityFall, fall_by_release, fall_while_serving
from monitoring.online.page import as_markdown, plot_trend, select_days
from monitoring.online.reader import OnlineReader
from monitoring.online.silence import silence
from monitoring.predictions.drift import PredictionDrift
from monitoring.predictions.drift import prediction_drift as compare_lists
from monitoring.predictions.page import drift_table, plot_days, release_table
from orchestration.assets.drift_report import earlier_items
from orchestration.assets.json_outputs import QualityMonitor
from orchestration.assets.metadata import picture, show
from orchestration.io_manager import Lake
from orchestration.resources import Dataset, Datasets
from orchestration.settings import Settings
from recommenders.clock import now_us
from recommenders.datasets.spec import DatasetSpec
from recommenders.storage import schema
from recommenders.storage.feedback_tables import TRAINABLE
from serving.release.registry import Registry

PRIMARY = "ndcg"  # of monitoring.online.quality.METRICS
SHOWN_DAYS = 14
SHOWN_SLICES = ("version", "scene", "strategy", "user", "segment", "slot")
FEEDBACK_KINDS = {"addtocart": "cart", "transaction": "purchase"}  # event of a source -> kind of feedback


@dg.asset(group_name="monitoring", kinds={"duckdb", "parquet"})
def online_quality(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    datasets: dg.ResourceParam[Datasets],
    lake: dg.ResourceParam[Lake],
) -> pa.Table:
    """Quality and business figures of the lists that were served, by day and slice, from the feedback store.

    It needs no other asset, so that a broken source does not stop it. Without a stored list the table is empty.
    """
    dataset = datasets[context.partition_key]
    earlier = stored_quality(lake, dataset.name)
    rules, now = attribution(settings, dataset.spec), now_us()
    reader = OnlineReader(settings.feedback_store, dataset.name)
    table = judge_days(reader, users_of(dataset), now, rules, settings.answer_days, earlier)
    show(context, metadata(table, dataset.name, settings, rules))
    return table


@dg.asset(deps=["online_quality"], group_name="monitoring")
def quality_monitor(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    datasets: dg.ResourceParam[Datasets],
    registry: dg.ResourceParam[Registry],
) -> QualityMonitor:
    """Tests whether the lists became worse with the champion's release, or while it served, in mature windows."""
    dataset, champion = datasets[context.partition_key], registry.champion(context.partition_key)
    if champion is None or champion.promoted_at is None:
        nothing = QualityFall(False, "no version serves yet")
        return QualityMonitor(dataset.name, None, nothing, nothing)
    rules, now = attribution(settings, dataset.spec), now_us()
    reader = OnlineReader(settings.feedback_store, dataset.name)
    values = daily_values(reader, now, rules, settings.answer_days, PRIMARY)
    mature = [day for day in values if day.mature]
    pointer, served = registry.pointer(dataset.name), (champion.number, champion.promoted_at)
    release = fall_by_release(mature, *served, pointer.earlier if pointer else ())
    decay = fall_while_serving(mature, *served)
    found = QualityMonitor(dataset.name, champion.number, release, decay, silence(reader, now))
    shown = {"version": champion.number, "release": release.reason, "decay": decay.reason, "metric": PRIMARY}
    show(context, shown | ({"events": found.silence} if found.silence else {}))
    update_alerts(settings, found)
    alert_of_silence(settings, found)
    return found


@dg.asset(group_name="monitoring", kinds={"duckdb"})
def prediction_drift(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    datasets: dg.ResourceParam[Datasets],
    registry: dg.ResourceParam[Registry],
) -> PredictionDrift:
    """Tests whether the lists of the champion changed while it served: scores, composition, coverage.

    It needs no other asset, so that a broken source does not stop it.
    """
    dataset, champion = datasets[context.partition_key], registry.champion(context.partition_key)
    if champion is None or champion.promoted_at is None:
        return PredictionDrift(dataset.name, None)
    reader, now = OnlineReader(settings.feedback_store, dataset.name), now_us()
    made_by = (champion.number, champion.promoted_at)
    items = items_of(dataset, settings.answer_days)
    found, days = compare_lists(dataset.name, reader, items, *made_by, now, settings.answer_days)
    shown: dict[str, Any] = {"version": champion.number, "drifted": found.drifted, "summary": found.summary}
    shown |= {"window end": str(found.window_end), "figures": dg.MetadataValue.md(drift_table(found))}
    if found.release:
        shown["with the release"] = dg.MetadataValue.md(release_table(found.release))
    if not days.empty:
        shown["days"] = picture(plot_days(days, found, champion.promoted_at), "days")
    show(context, shown)
    alert_of_predictions(settings, found)
    return found


def alert_of_predictions(settings: Settings, found: PredictionDrift) -> None:
    """Sends one alert a window if the lists changed; ends the incident if they were tested and did not.

    A person who ends the incident knows of the change: the same window does not raise it again.
    """
    cause: Cause = "prediction drift"
    name = found.dataset
    if found.drifted:
        done = "The champion keeps serving. This alone starts no retraining."
        id_ = f"{cause}/{name}/{found.version}/{found.window_end}"
        settings.alerts.send(Alert(f"{cause} in {name}", found.summary, "warning", cause, name, done=done, id=id_))
    elif found.columns:
        settings.alerts.recover(cause, name)


def alert_of_silence(settings: Settings, found: QualityMonitor) -> None:
    """Sends an alert if no events come although lists are served; ends the incident when they come again."""
    if found.silence:
        done = "The champion keeps serving. Nothing is learned or judged until events come; those that come late count."
        title = f"no events come from {found.dataset}"
        settings.alerts.send(
            Alert(title, found.silence, "critical", "broken feed", found.dataset, subject="events", done=done)
        )
    else:
        settings.alerts.recover("broken feed", found.dataset, "events")


def update_alerts(settings: Settings, found: QualityMonitor) -> None:
    """Sends an alert if the quality fell; ends the incident if a test was made and it did not."""
    fallen = [one for one in (found.release, found.decay) if one.fell]
    if fallen:
        title = f"the quality fell in {found.dataset}"
        done = "The sensor rollback takes the champion back, or the sensor monitoring starts a retraining."
        reasons = "; ".join(one.reason for one in fallen)
        settings.alerts.send(Alert(title, reasons, "critical", "quality fall", found.dataset, done=done))
    elif any(one.window_end for one in (found.release, found.decay)):
        settings.alerts.recover("quality fall", found.dataset)


def stored_quality(lake: Lake, dataset: str) -> pa.Table | None:
    """The result of the last run; None if there is none, or one with other columns, of an earlier release."""
    if not lake.path(dataset, "online_quality", pa.Table).exists():
        return None
    found: pa.Table = lake.read(dataset, "online_quality", pa.Table)
    return found if found.schema.equals(ONLINE_QUALITY) else None


def attribution(settings: Settings, spec: DatasetSpec) -> Attribution:
    """The rules of the settings; an item is relevant for a list by the events of the data set's protocol."""
    kinds = {FEEDBACK_KINDS.get(event, event) for event in spec.protocol.relevant_events} & set(TRAINABLE)
    windows = settings.click_hours, settings.purchase_days, settings.session_minutes
    return Attribution(*windows, relevant=tuple(sorted(kinds)) or ("purchase",))


def users_of(dataset: Dataset) -> pa.Table:
    """The attributes of the users, from the newest tables; empty if there are none yet."""
    return schema.USERS.empty_table() if dataset.tables.current() is None else dataset.tables.read("users")


def items_of(dataset: Dataset, days: int) -> list[pa.Table]:
    """The newest items, and those of so many days ago, because lists of then may have items that are gone."""
    if dataset.tables.current() is None:
        return []
    earlier = earlier_items(dataset.tables, days)
    return [dataset.tables.read("items"), *([] if earlier is None else [earlier])]


def metadata(table: pa.Table, name: str, settings: Settings, rules: Attribution) -> dict[str, Any]:
    """What the page of the asset shows: the last mature day, the trend, and the slices of that day."""
    found: dict[str, Any] = {"attribution": rules.describe()}
    if settings.answer_days < rules.longest / DAY + 2:
        found["warning"] = (
            f"lists are stored for {settings.answer_days} days, so no day becomes mature; allowed: "
            f"{rules.longest / DAY + 2:g} or more; set TRADEWIND_ANSWER_DAYS"
        )
    if not table.num_rows:
        return {**found, "days": "none: no list is stored yet; the service stores the answers of POST /predict"}
    found |= {
        "days": len(table["day"].unique()),
        "trend": picture(plot_trend(table, name), "trend"),
        "last days": dg.MetadataValue.md(as_markdown(select_days(table, days=SHOWN_DAYS))),
    }
    last = select_days(table, days=1, mature_only=True)
    if last.empty:
        return {**found, "last mature day": "none yet"}
    found["last mature day"] = str(last["day"].iloc[0])
    for by in SHOWN_SLICES:
        found[f"by {by}"] = dg.MetadataValue.md(as_markdown(select_days(table, by, days=1, mature_only=True)))
    return found
