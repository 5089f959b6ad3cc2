"""The drift report: judges the newest window against past windows, and publishes the comparison with Evidently."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.drift.causes import Part
from monitoring.drift.changes import reference_windows
from monitoring.drift.columns import encode
from monitoring.drift.feed.problems import FeedProblem, describe, find_feed_problems
from monitoring.drift.judgement import ColumnDrift, Judgement, judge, summarise
from monitoring.drift.page import HTML_NAME, publish
from monitoring.drift.verdict import ALARM_RATE
from monitoring.drift.windows import DAY, newest_rows
from recommenders.errors import DataError
from recommenders.events.item_states import items_as_of
from recommenders.storage.atomic_files import atomic_folder

MIN_ROWS = 200
JSON_NAME = "drift.json"


@dataclass(frozen=True)
class Window:
    """A time window of the log; times are UTC, None if it has no events."""

    start: datetime | None
    end: datetime | None
    rows: int

    @property
    def last(self) -> float:
        """The end in seconds since 1970; nan without events."""
        return self.end.timestamp() if self.end else float("nan")


@dataclass(frozen=True)
class DriftReport:
    """The result of a comparison.

    fired: any column reached its limit, or the feed is broken (feed_problems). tested: there were enough events; else
    html_path, project_id and snapshot_id are None. feed_tested: there were enough to look for feed_problems; no past
    windows are needed. columns: drifted ones first, largest score relative to its limit first. reference: the past
    windows with which the newest one, current, is compared. not_tested: the other columns, with the reason. recent: the
    columns that drifted in each of the newest windows, the newest last. data_version: of the log, "" if it has none.
    """

    fired: bool
    tested: bool
    columns: tuple[ColumnDrift, ...]
    reference: Window
    current: Window
    not_tested: tuple[str, ...]
    summary: str
    feed_problems: tuple[FeedProblem, ...] = ()
    recent: tuple[tuple[str, ...], ...] = ()
    html_path: Path | None = None
    project_id: str | None = None
    snapshot_id: str | None = None
    data_version: str = ""
    feed_tested: bool = False

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
            content["columns"] = tuple(_column(column) for column in content["columns"])
            content["recent"] = tuple(map(tuple, content.get("recent", ())))
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
    days: int | None = None,
    min_rows: int = MIN_ROWS,
    alarm_rate: float = ALARM_RATE,
) -> DriftReport:
    """Judges the newest events (current) against the events before them (reference), both of schema INTERACTIONS.

    Writes Evidently's page to `out` (drift.html) and adds the comparison to a project in its workspace.
    days: the length of the windows; by default the whole days from the last reference event to the newest one.
    Columns: activity (orders), active users, new items, new users, category and popularity of the item, item mix,
    log unit price, log quantity, rating; with users segment and region. items: every state. With fewer than min_rows
    events on either side nothing is tested or written. A broken feed comes first in the summary; feed/problems.py
    describes it and earlier_items.
    """
    spans = _span(reference), _span(current)
    if min(span.rows for span in spans) < min_rows:
        reason = f"not tested: {spans[0].rows} events before the newest window, {spans[1].rows} in it"
        return DriftReport(False, False, (), *spans, ("every column",), f"{reason}; {min_rows} are needed in each")
    days = days or max(round((spans[1].last - spans[0].last) / DAY), 1)
    feed_problems = find_feed_problems(reference, current, items, users, earlier_items, days)
    log = encode(reference, current, items_as_of(items, pc.max(current["timestamp"]).as_py()), users)
    found = judge(log, days, alarm_rate)
    fired = bool(feed_problems) or any(column.drifted for column in found.columns)
    summary = summarise(found.columns, found.not_tested)
    summary = f"the feed is probably broken: {describe(feed_problems)}; drift: {summary}" if feed_problems else summary
    compared = _compared(found, spans[0]), spans[1]
    report = DriftReport(
        *(fired, bool(found.columns), found.columns, *compared, found.not_tested, summary, feed_problems, found.recent),
        feed_tested=True,
    )
    if not found.columns:
        return report
    page = publish(log, found, summary, report.current.end, out, workspace, project)
    return replace(report, html_path=page.path, project_id=page.project_id, snapshot_id=page.snapshot_id)


def report_url(base_url: str, project_id: str, snapshot_id: str) -> str:
    """The page of a comparison in Evidently's UI."""
    return f"{base_url.rstrip('/')}/projects/{project_id}/reports/{snapshot_id}"


def _span(table: pa.Table) -> Window:
    if not table.num_rows:
        return Window(None, None, 0)
    ends = pc.min_max(table["timestamp"]).as_py()
    return Window(ends["min"].astimezone(UTC), ends["max"].astimezone(UTC), table.num_rows)


def _window(content: dict[str, Any]) -> Window:
    start, end = (content[name] and datetime.fromisoformat(content[name]) for name in ("start", "end"))
    return Window(start, end, content["rows"])


def _column(content: dict[str, Any]) -> ColumnDrift:
    return ColumnDrift(**{**content, "parts": tuple(Part(**part) for part in content.get("parts", ()))})


def _compared(found: Judgement, everything: Window) -> Window:
    """The windows with which the newest one is compared; everything before it if nothing was tested."""
    windows = reference_windows(found.windows, len(found.windows) - 1)
    if not windows or not found.columns:
        return everything
    start, end = (datetime.fromtimestamp(time, UTC) for time in (windows[0].start, windows[-1].end))
    return Window(start, end, newest_rows(windows).size)
