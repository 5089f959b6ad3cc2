"""The asset of the feedback: events that shops sent to the service, as files that the tables are made from."""

from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.assets.metadata import preview, show
from orchestration.jobs import DRIFT
from orchestration.resources import Dataset, Datasets
from recommenders import clock
from recommenders.storage.feedback_files import FeedbackFiles
from recommenders.storage.feedback_position import Position
from recommenders.storage.feedback_reader import collect


@dg.asset(group_name="data", kinds={"parquet"})
def feedback(context: dg.AssetExecutionContext, datasets: dg.ResourceParam[Datasets]) -> None:
    """Clicks, carts, purchases and ratings that are new in the feedback store, appended to files.

    If the data set does not learn from feedback, or if there is no store yet, nothing is written. The job of every hour
    reads once a day: each reading makes new tables, from the whole source.
    """
    dataset = datasets[context.partition_key]
    reason = why_not(dataset, context.run.job_name)
    show(context, {"reads": f"nothing: {reason}"} if reason else summary(dataset))


def why_not(dataset: Dataset, job: str) -> str:
    """Why nothing is read by a job; empty if it is."""
    if not dataset.spec.feedback:
        entry = "key feedback in its entry" if dataset.spec.folder else "setting TRADEWIND_FEEDBACK_WEIGHTS"
        return f"{dataset.name} does not learn from feedback; see the {entry}"
    if job == DRIFT and (newest := dataset.tables.current()) and newest.created.date() == clock.now().date():
        return f"the tables of {newest.created:%Y-%m-%d} are there; a retraining reads at once"
    return ""


def summary(dataset: Dataset) -> dict[str, Any]:
    """Reads what is new, and returns the metadata of the asset."""
    reader, files = dataset.feedback_store, dataset.feedback
    if not reader.exists():
        return {"reads": "nothing: there is no feedback store yet; the service makes it when it starts"}
    before = files.position()
    newest = collect(reader, files)
    return {"weights": dg.MetadataValue.json(dict(dataset.spec.feedback)), **figures(files, before, newest)}


def figures(files: FeedbackFiles, before: Position | None, newest: pa.Table) -> dict[str, Any]:
    """All events by kind, their time span, how many are new since `before`, and the last ones of the newest page."""
    events, position = files.read(["sequence", "event", "timestamp"]), files.position()
    span = pc.min_max(events["timestamp"]).as_py()
    new = pc.sum(pc.greater(events["sequence"], before.sequence if before else 0)).as_py()
    return {
        "events": events.num_rows,
        **{f"events: {row['values']}": row["counts"] for row in events["event"].value_counts().to_pylist()},
        "new since the last run": new or 0,
        "first event": str(span["min"]),
        "last event": str(span["max"]),
        "sequence": position.sequence if position else 0,
        "erased users": len(files.erased()),
        "folder": dg.MetadataValue.path(str(files.folder)),
        "preview": preview(newest.slice(max(newest.num_rows - 10, 0))),
    }
