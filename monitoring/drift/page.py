"""The comparison as a snapshot of Evidently: its page, and the project in its workspace.

Importing Evidently takes five seconds and 290 MB, so it is imported where it is used. Its own limits give false alarms
on recommender logs, so it gets our scores and limits as a drift method.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monitoring.drift.changes import SCORES, compare, is_new, reference_windows
from monitoring.drift.columns import NEW_ITEMS, NEW_USERS, VOLUMES, EncodedLog
from monitoring.drift.judgement import METHOD, ColumnDrift, Judgement

HTML_NAME = "drift.html"
MAX_ROWS = 20_000  # of each side, drawn at random
DRIFTED = "drifted columns"
COUNT_TITLE = "Columns that drifted in the newest window"
LINES_TITLE = "How near each column is to its limit (1 and above: drift)"
LABELS = ("category", "segment", "region", NEW_ITEMS, NEW_USERS)
COLUMNS = (*LABELS, *SCORES, "log_unit_price", "log_quantity", "rating", *VOLUMES)


@dataclass(frozen=True)
class Page:
    """The page as a file, and the ids of its snapshot in the workspace."""

    path: Path
    project_id: str
    snapshot_id: str


def publish(
    log: EncodedLog, found: Judgement, summary: str, end: datetime | None, out: Path, workspace: Path, project: str
) -> Page:
    """Writes the page and stores the snapshot. Activity is no column of events: it is only in the panels."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import MeanValue
    from evidently.presets import DataDriftPreset

    shown = [column for column in found.columns if column.name not in VOLUMES]
    _register_method(shown)
    preset = DataDriftPreset(
        columns=[column.name for column in shown],
        per_column_method={column.name: METHOD for column in shown},
        per_column_threshold={column.name: column.threshold for column in shown},
        drift_share=0.5 / len(shown),  # one column is enough: a real drift has a single cause
    )
    # Panels draw one line per set of metric parameters, and limits are parameters that change with every window. So
    # the panels show separate columns, score / limit, whose reference value is 1.
    figures = {f"{column.name} / limit": column.score / column.threshold for column in found.columns}
    figures[DRIFTED] = float(sum(column.drifted for column in found.columns))
    reference, current = _frames(log, found)
    current, reference = current.assign(**figures), reference.assign(**{**dict.fromkeys(figures, 1.0), DRIFTED: 0.0})
    labels = [name for name in LABELS if name in current.columns]
    definition = DataDefinition(
        numerical_columns=[name for name in current.columns if name not in labels], categorical_columns=labels
    )
    data = Dataset.from_pandas(current, definition), Dataset.from_pandas(reference, definition)
    evidently_report = Report([preset, *(MeanValue(column=name) for name in figures)])
    snapshot = evidently_report.run(*data, timestamp=end, name=summary, tags=["drift"])
    # On the page each would be a histogram with one bar; only widgets of single metrics have linked metrics.
    content = snapshot.to_snapshot_model()
    content.widgets = [widget for widget in content.widgets if not widget.linked_metrics]
    snapshot = snapshot.load_model(content)
    out.mkdir(parents=True, exist_ok=True)
    snapshot.save_html(str(out / HTML_NAME))
    return Page(out / HTML_NAME, *_store(snapshot.to_snapshot_model(), workspace, project))


def _register_method(columns: list[ColumnDrift]) -> None:
    """Makes Evidently's drift method METHOD return the verdicts of these columns."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    verdicts = {column.name: (column.score, column.drifted) for column in columns}

    def verdict(_reference: pd.Series, current: pd.Series, _type: ColumnType, _limit: float) -> tuple[float, bool]:
        return verdicts[str(current.name)]

    types = [ColumnType.Numerical, ColumnType.Categorical]
    register_stattest(StatTest(METHOD, METHOD, types), default_impl=verdict)


def _store(snapshot: Any, workspace: Path, project: str) -> tuple[str, str]:
    """Adds a snapshot to the project of that name; the ids of both. The first call creates the project.

    Evidently's Workspace reads all stored snapshots when it is opened, 35 ms for each.
    """
    from evidently.legacy.core import new_id
    from evidently.ui.storage.local.base import LocalState

    workspace.mkdir(parents=True, exist_ok=True)
    files, snapshot_id = LocalState(str(workspace)), new_id()
    ids = (id_ for id_ in files.list_projects() if files.read_project(id_).name == project)
    project_id = next(ids, None) or _new_project(workspace, project)
    files.write_snapshot(project_id, snapshot_id, snapshot)
    return str(project_id), str(snapshot_id)


def _new_project(workspace: Path, name: str) -> Any:
    """Creates a project with its panels; its id."""
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import counter_panel, line_plot_panel
    from evidently.ui.workspace import Workspace

    def figure(column: str, legend: str) -> PanelMetric:
        return PanelMetric(metric="MeanValue", metric_labels={"column": column}, legend=legend)

    project = Workspace.create(str(workspace)).create_project(
        name, description="The newest window against past windows"
    )
    lines = [figure(f"{column} / limit", column) for column in COLUMNS]
    for panel in (
        counter_panel(title=COUNT_TITLE, values=[figure(DRIFTED, "columns")]),
        line_plot_panel(title=LINES_TITLE, values=lines),
    ):
        project.dashboard.add_panel(panel)
    return project.id


def _frames(log: EncodedLog, found: Judgement) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tested columns in some events of the reference and of the newest window, unknown values as missing."""
    last = len(found.windows) - 1
    pair = compare(log, reference_windows(found.windows, last), found.windows[last])
    frame = {}
    for column in found.columns:
        if column.name in log.labels:
            names = np.array([*log.names[column.name], None], dtype=object)  # code -1 is None, the last entry
            frame[column.name] = names[log.labels[column.name][pair.rows]]
        elif column.name in log.numbers:
            frame[column.name] = log.numbers[column.name][pair.rows]
        elif column.name in SCORES:
            frame[column.name] = SCORES[column.name](log, pair)
        elif column.name not in VOLUMES:
            frame[column.name] = np.where(is_new(log, pair, column.name), "new", "known")
    table, rng = pd.DataFrame(frame), np.random.default_rng(0)
    sides = np.flatnonzero(~pair.is_now), np.flatnonzero(pair.is_now)
    drawn = [np.sort(rng.permutation(side)[:MAX_ROWS]) for side in sides]
    return table.iloc[drawn[0]].reset_index(drop=True), table.iloc[drawn[1]].reset_index(drop=True)
