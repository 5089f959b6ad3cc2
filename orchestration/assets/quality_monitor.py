"""The asset that tests the quality of the served lists over time, and whether events come at all."""

import dagster as dg

from monitoring.alerts.alert import Alert
from monitoring.online.daily import daily_values
from monitoring.online.falls import QualityFall, fall_by_release, fall_while_serving
from monitoring.online.reader import OnlineReader
from monitoring.online.silence import silence
from orchestration.assets.json_outputs import QualityMonitor
from orchestration.assets.metadata import show
from orchestration.assets.online_quality import attribution
from orchestration.resources import Datasets
from orchestration.settings import Settings
from recommenders.clock import now_us
from serving.release.registry import Registry

PRIMARY = "ndcg"  # of monitoring.online.quality.METRICS


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
