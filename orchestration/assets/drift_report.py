"""Is the newest window still like what came before it?"""

import dagster as dg
import pyarrow as pa
from monitoring.alerts import Alert, send
from monitoring.drift import DriftReport, report_url
from monitoring.drift import drift_report as compare
from recommenders.datasets.splits import newest_window

from orchestration.partitions import datasets
from orchestration.settings import Settings
from recommenders.datasets.catalog import dataset


@dg.asset(partitions_def=datasets, group_name="monitoring", kinds={"evidently"})
def drift_report(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    interactions: pa.Table,
    items: pa.Table,
    users: pa.Table,
) -> DriftReport:
    """Evidently's comparison of the newest window with all that came before it, the models' training window."""
    name = context.partition_key
    learned, newest = newest_window(interactions, dataset(name).protocol.test_days)
    report = compare(
        learned,
        newest,
        items,
        out=settings.home.resolve() / "reports" / name / "drift.html",
        workspace=settings.workspace,
        project=name,
        users=users,
    )
    context.add_output_metadata(
        {
            "fired": report.fired,
            "summary": report.summary,
            "report": dg.MetadataValue.url(report_url(settings.urls["evidently"], report)),
            "file": dg.MetadataValue.path(str(report.html_path)),
            "window end": report.current.end.isoformat(),
        }
    )
    if report.fired:
        alert = Alert(
            f"drift in {name}", report.summary, severity="warning", key=f"drift/{name}", dataset=name
        )
        send(alert, settings.alerts)
        context.log.warning(f"{alert.title}: {alert.body}")
    return report
