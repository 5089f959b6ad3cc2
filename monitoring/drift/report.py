"""The drift report: compares the newest events with those of the training window, and publishes it with Evidently.

Importing Evidently takes five seconds and 290 MB, so it is imported where it is used. Its default limits give false
alarms on recommender logs, so shift.py computes the limits and passes them to Evidently.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.drift.feed import FeedProblem, describe, find_feed_problems
from monitoring.drift.shift import (
    COLUMNS,
    METHODS,
    POPULARITY,
    ColumnType,
    EncodedLog,
    Rows,
    encode,
    limits,
    random_half,
    subsample,
)
from monitoring.drift.verdict import ColumnDrift, column_verdicts, label_names, summarise
from recommenders.errors import DataError
from recommenders.events.item_states import items_as_of
from recommenders.storage.atomic_files import atomic_folder

FLOORS: Mapping[ColumnType, float] = {"numerical": 0.05, "categorical": 0.05}  # smaller shifts need no action
MIN_ROWS = 500
MAX_ROWS = 20_000
ALARM_RATE = 0.01  # false alarms per window, over all columns
JSON_NAME, HTML_NAME = "drift.json", "drift.html"
DRIFTED = "drifted columns"
COUNT_TITLE = "Columns that drifted in the newest window"
LINES_TITLE = "How near each column is to its limit (1 and above: drift)"


@dataclass(frozen=True)
class Window:
    """A time window of the log; times are UTC, None if it has no events."""

    start: datetime | None
    end: datetime | None
    rows: int


@dataclass(frozen=True)
class DriftReport:
    """The result of a comparison.

    fired: any column reached its limit, or the feed is broken (feed_problems). tested: there were enough events; else
    html_path, project_id and snapshot_id are None. columns: largest score relative to its limit first. not_tested: the
    other columns, with the reason. data_version: of the compared log, "" if it has none.
    """

    fired: bool
    tested: bool
    columns: tuple[ColumnDrift, ...]
    reference: Window
    current: Window
    not_tested: tuple[str, ...]
    summary: str
    feed_problems: tuple[FeedProblem, ...] = ()
    html_path: Path | None = None
    project_id: str | None = None
    snapshot_id: str | None = None
    data_version: str = ""

    def save(self, folder: Path) -> Path:
        """Writes drift.json and a copy of the HTML page, replacing the folder in one step; returns the JSON file."""
        content = {**asdict(self), "html_path": self.html_path and HTML_NAME}
        text = json.dumps(content, indent=2, default=datetime.isoformat) + "\n"
        with atomic_folder(folder) as staging:
            if self.html_path is not None:
                shutil.copyfile(self.html_path, staging / HTML_NAME)
            (staging / JSON_NAME).write_text(text, encoding="utf-8")
        return folder / JSON_NAME

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what save() wrote. Raises DataError if the folder has no such report."""
        try:
            content = json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))
            content["columns"] = tuple(ColumnDrift(**column) for column in content["columns"])
            content["reference"] = _window(content["reference"])
            content["current"] = _window(content["current"])
            content["not_tested"] = tuple(content["not_tested"])
            content["feed_problems"] = tuple(FeedProblem(**problem) for problem in content.get("feed_problems", ()))
            content["html_path"] = content["html_path"] and folder / content["html_path"]
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{folder / JSON_NAME} is not a drift report: {error!r}; run the drift check again"
            raise DataError(message) from error


def drift_report(
    reference: pa.Table,
    current: pa.Table,
    items: pa.Table,
    out: Path,
    workspace: Path,
    project: str,
    *,
    users: pa.Table | None = None,
    earlier_items: pa.Table | None = None,
    min_rows: int = MIN_ROWS,
    max_rows: int = MAX_ROWS,
    floors: Mapping[ColumnType, float] = FLOORS,
    alarm_rate: float = ALARM_RATE,
    seed: int = 0,
) -> DriftReport:
    """Compares the newest events with those of the training window (the reference), schema INTERACTIONS.

    Writes Evidently's page to `out` (drift.html) and adds the comparison to a project in its workspace.
    Columns: category and popularity of the item, log unit price, log quantity, rating; with users segment and
    region. items: every state. With fewer than min_rows events on either side nothing is tested or written. A broken
    feed comes first in the summary; feed.py describes it and earlier_items.
    """
    spans = _span(reference), _span(current)
    if min(span.rows for span in spans) < min_rows:
        reason = f"not tested: {spans[0].rows} events in the training window, {spans[1].rows} in the newest"
        return DriftReport(False, False, (), *spans, ("every column",), f"{reason}; {min_rows} are needed in each")
    feed_problems = find_feed_problems(reference, current, items, users, earlier_items)
    log = encode(reference, current, items_as_of(items, pc.max(current["timestamp"]).as_py()), users)
    columns, not_tested, (bucket_rows, tested, window) = verdicts(
        log, np.random.default_rng(seed), min_rows, max_rows, floors, alarm_rate
    )
    fired = bool(feed_problems) or any(column.drifted for column in columns)
    summary = summarise(columns, not_tested)
    summary = f"the feed is probably broken: {describe(feed_problems)}; drift: {summary}" if feed_problems else summary
    report = DriftReport(fired, bool(columns), columns, *spans, not_tested, summary, feed_problems)
    if not columns:
        return report
    frames = _frame(log, columns, tested, bucket_rows), _frame(log, columns, window, bucket_rows)
    return _publish(report, *frames, out, workspace, project)


def verdicts(
    log: EncodedLog,
    rng: np.random.Generator,
    min_rows: int = MIN_ROWS,
    max_rows: int = MAX_ROWS,
    floors: Mapping[ColumnType, float] = FLOORS,
    alarm_rate: float = ALARM_RATE,
) -> tuple[tuple[ColumnDrift, ...], tuple[str, ...], tuple[Rows, Rows, Rows]]:
    """The verdict of each column, the columns not tested, and the rows: (bucket half, tested half, newest window).

    Without drift, any column fires in at most a share alarm_rate of windows.
    """
    thresholds = limits(log, floors, max_rows, min_rows, alarm_rate, rng)
    half = random_half(log, rng)[: log.n_reference]
    bucket_rows, tested = np.flatnonzero(half), subsample(np.flatnonzero(~half), max_rows, rng)
    window = subsample(np.arange(log.n_reference, log.seconds.size), max_rows, rng)
    columns, not_tested = column_verdicts(log, bucket_rows, tested, window, thresholds, min_rows)
    return columns, not_tested, (bucket_rows, tested, window)


def report_url(base_url: str, project_id: str, snapshot_id: str) -> str:
    """The page of a comparison in Evidently's UI."""
    return f"{base_url.rstrip('/')}/projects/{project_id}/reports/{snapshot_id}"


def _publish(
    report: DriftReport, reference: pd.DataFrame, current: pd.DataFrame, out: Path, workspace: Path, project: str
) -> DriftReport:
    """Publishes the verdicts with Evidently; returns the report with the page and the ids of the snapshot."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import MeanValue
    from evidently.presets import DataDriftPreset

    preset = DataDriftPreset(
        columns=[column.name for column in report.columns],
        per_column_method={column.name: column.method for column in report.columns},
        per_column_threshold={column.name: column.threshold for column in report.columns},
        drift_share=0.5 / len(report.columns),  # one column is enough: a real drift has a single cause
    )
    # Panels draw one line per set of metric parameters, and limits are parameters that change with every window. So
    # the panels show separate columns, score / limit, whose reference value is 1.
    figures = {f"{column.name} / limit": column.score / column.threshold for column in report.columns}
    figures[DRIFTED] = float(sum(column.drifted for column in report.columns))
    current, reference = current.assign(**figures), reference.assign(**{**dict.fromkeys(figures, 1.0), DRIFTED: 0.0})
    labels = [c.name for c in report.columns if METHODS["categorical"] == c.method]
    definition = DataDefinition(
        numerical_columns=[name for name in current.columns if name not in labels], categorical_columns=labels
    )
    data = Dataset.from_pandas(current, definition), Dataset.from_pandas(reference, definition)
    evidently_report = Report([preset, *(MeanValue(column=name) for name in figures)])
    snapshot = evidently_report.run(*data, timestamp=report.current.end, name=report.summary, tags=["drift"])
    # On the page each would be a histogram with one bar; only widgets of single metrics have linked metrics.
    content = snapshot.to_snapshot_model()
    content.widgets = [widget for widget in content.widgets if not widget.linked_metrics]
    snapshot = snapshot.load_model(content)
    out.mkdir(parents=True, exist_ok=True)
    page = out / HTML_NAME
    snapshot.save_html(str(page))
    store, project_id = _project(workspace, project)
    stored = store.add_run(project_id, snapshot, include_data=False)
    return replace(report, html_path=page, project_id=str(project_id), snapshot_id=str(stored.id))


def _project(workspace: Path, name: str) -> tuple[Any, Any]:
    """Evidently's workspace and the id of the project in it; the first call creates the project with its panels."""
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import counter_panel, line_plot_panel
    from evidently.ui.workspace import Workspace

    def figure(column: str, legend: str) -> PanelMetric:
        return PanelMetric(metric="MeanValue", metric_labels={"column": column}, legend=legend)

    workspace.mkdir(parents=True, exist_ok=True)
    store = Workspace.create(str(workspace))
    if found := store.search_project(name):
        return store, found[0].id
    project = store.create_project(name, description="The newest events against those of the training window")
    lines = [figure(f"{column} / limit", column) for column in COLUMNS]
    for panel in (
        counter_panel(title=COUNT_TITLE, values=[figure(DRIFTED, "columns")]),
        line_plot_panel(title=LINES_TITLE, values=lines),
    ):
        project.dashboard.add_panel(panel)
    return store, project.id


def _frame(log: EncodedLog, columns: tuple[ColumnDrift, ...], rows: Rows, bucket_rows: Rows) -> pd.DataFrame:
    """The tested columns in some rows, labels as names, unknown values as missing; (rows, columns)."""
    frame = {}
    for column in columns:
        if column.name in log.numbers:
            frame[column.name] = log.numbers[column.name][rows]
        else:
            codes = (log.popularity_buckets(bucket_rows) if column.name == POPULARITY else log.labels[column.name])[
                rows
            ]
            # code -1 is None, the last entry
            frame[column.name] = np.array([*label_names(log, column.name), None], dtype=object)[codes]
    return pd.DataFrame(frame)


def _span(table: pa.Table) -> Window:
    if not table.num_rows:
        return Window(None, None, 0)
    ends = pc.min_max(table["timestamp"]).as_py()
    return Window(ends["min"].astimezone(UTC), ends["max"].astimezone(UTC), table.num_rows)


def _window(content: dict[str, Any]) -> Window:
    start, end = (content[name] and datetime.fromisoformat(content[name]) for name in ("start", "end"))
    return Window(start, end, content["rows"])
