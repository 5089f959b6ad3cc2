"""The asset that tests whether what the served lists show has changed."""

from typing import Any

import dagster as dg
import pyarrow as pa

from monitoring.alerts.alert import Alert, Cause
from monitoring.online.reader import OnlineReader
from monitoring.predictions.drift import PredictionDrift
from monitoring.predictions.drift import prediction_drift as compare_lists
from monitoring.predictions.page import drift_table, plot_days, release_table
from orchestration.assets.drift_report import earlier_items
from orchestration.assets.metadata import picture, show
from orchestration.resources import Dataset, Datasets
from orchestration.settings import Settings
from recommenders.clock import now_us
from serving.release.registry import Registry


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


def items_of(dataset: Dataset, days: int) -> list[pa.Table]:
    """The newest items, and those of so many days ago, because lists of then may have items that are gone."""
    if dataset.tables.current() is None:
        return []
    earlier = earlier_items(dataset.tables, days)
    return [dataset.tables.read("items"), *([] if earlier is None else [earlier])]
