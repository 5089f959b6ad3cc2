"""Reviews of drift: what a person wrote about the causes of an alert, kept for good, and what that silences.

A review holds as long as its causes last: until the first drift report without them. Then the same column, or another
one at any time, raises an alert again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from recommenders.errors import ConfigurationError, DataError
from recommenders.storage.atomic_files import atomic_file
from recommenders.storage.locks import locked

if TYPE_CHECKING:  # the command `tradewind` imports this module at every start, and the report imports much
    from monitoring.drift.report import DriftReport

FEED = "feed "  # before the column of a fault of the feed: `feed category` is another cause than `category`


class Verdict(StrEnum):
    """acknowledged: no more alerts of this drift. expected: moreover, no retraining for it."""

    acknowledged = "acknowledged"
    expected = "expected"


@dataclass(frozen=True)
class Review:
    """What a person wrote about the newest report. columns: causes of its alert. window_end: of the report. UTC."""

    dataset: str
    columns: tuple[str, ...]
    verdict: Verdict
    by: str
    why: str
    at: AwareDatetime
    window_end: AwareDatetime
    kind: Literal["review"] = "review"

    @property
    def text(self) -> str:
        """Verdict, person, time and reason."""
        return f"{self.verdict} by {self.by}, {self.at:%Y-%m-%d %H:%M} UTC: {self.why}"

    def __str__(self) -> str:
        return f"{', '.join(self.columns)}: {self.text}"


@dataclass(frozen=True)
class End:
    """The first report without causes that were reviewed. columns: these causes. window_end: of the report. UTC."""

    dataset: str
    columns: tuple[str, ...]
    at: AwareDatetime
    window_end: AwareDatetime
    kind: Literal["end"] = "end"

    def __str__(self) -> str:
        return f"{', '.join(self.columns)}: over at {self.at:%Y-%m-%d %H:%M} UTC"


Entry = Review | End
ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="kind")])


@dataclass(frozen=True)
class ReviewLog:
    """The reviews of a data set and their ends, oldest first, as a file with one line of JSON for each."""

    path: Path

    def entries(self) -> list[Entry]:
        """All entries; none if there is no file. Raises DataError for a line that is no entry."""
        if not self.path.exists():
            return []
        try:
            return [ENTRY.validate_json(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        except ValidationError as error:
            cause = error.errors()[0]
            message = f"{self.path} has a line that is no review: {cause['msg']}; correct or remove this line"
            raise DataError(message) from error

    def append(self, entry: Entry) -> None:
        """Adds an entry. Of a write that is interrupted, even by a power cut, nothing is left."""
        with locked(self.path.with_suffix(".lock")):
            before = self.path.read_bytes() if self.path.exists() else b""
            with atomic_file(self.path, durable=True) as staging:
                staging.write_bytes(before + ENTRY.dump_json(entry) + b"\n")

    def update(self, dataset: str, report: "DriftReport", now: datetime) -> list[Entry]:
        """All entries, after the reviews that end with this report have ended."""
        entries = self.entries()
        over = ended(report, entries)
        if over and report.current.end:
            end = End(dataset, over, now, report.current.end)
            self.append(end)
            entries.append(end)
        return entries


def causes(report: "DriftReport") -> tuple[str, ...]:
    """What the alert of a report is about: the faults of a broken feed, else the columns that drifted."""
    if report.feed_problems:
        return tuple(FEED + problem.column for problem in report.feed_problems)
    return tuple(column.name for column in report.columns if column.drifted)


def review(
    report: "DriftReport", dataset: str, columns: Collection[str], verdict: Verdict, by: str, why: str, now: datetime
) -> Review:
    """A review of the newest report. Raises ConfigurationError.

    columns: some of its causes; the name without log_, as in the summary, is allowed too.
    """
    found, end = causes(report), report.current.end
    names = [name if name in found else f"log_{name}" for name in columns]
    wrong = [name for name, full in zip(columns, names, strict=True) if full not in found]
    if end is None or wrong or not names:
        allowed = ", ".join(found) or "none: the newest drift report found neither drift nor a broken feed"
        raise ConfigurationError(f"columns: got {', '.join(wrong) or 'none'}; allowed: {allowed}")
    by, why = " ".join(by.split()), " ".join(why.split())
    for name, text, meaning in (("by", by, "the name of a person"), ("why", why, "the reason in words")):
        if not text:
            raise ConfigurationError(f"{name}: got nothing; allowed: {meaning}")
    return Review(dataset, tuple(dict.fromkeys(names)), verdict, by, why, now, end)


def standing(entries: Sequence[Entry]) -> dict[str, Review]:
    """Column -> the review that holds for it now: the last one, unless it has ended."""
    found: dict[str, Review] = {}
    for entry in entries:
        for column in entry.columns:
            if isinstance(entry, Review):
                found[column] = entry
            else:
                found.pop(column, None)
    return found


def unreviewed(report: "DriftReport", entries: Sequence[Entry]) -> tuple[str, ...]:
    """The causes of a report that raise an alert: those without a review that holds."""
    reviewed = standing(entries)
    return tuple(cause for cause in causes(report) if cause not in reviewed)


def ended(report: "DriftReport", entries: Sequence[Entry]) -> tuple[str, ...]:
    """The reviewed causes that this report does not find. Of what it did not test, nothing is known."""
    if not report.tested:
        return ()
    found = causes(report)
    quiet = () if report.feed_problems else {column.name for column in report.columns if not column.drifted}
    return tuple(
        cause for cause in standing(entries) if cause in quiet or (cause.startswith(FEED) and cause not in found)
    )


def expected_now(entries: Sequence[Entry]) -> tuple[str, ...]:
    """The columns whose present drift a person expected."""
    return tuple(column for column, review in standing(entries).items() if review.verdict is Verdict.expected)


def recent_to_retrain(report: "DriftReport", entries: Sequence[Entry]) -> tuple[tuple[str, ...], ...]:
    """DriftReport.recent without what a person expected: a column's windows that ended before its drift was over."""
    begin, end = report.current.start, report.current.end
    if begin is None or end is None:
        return report.recent
    over = expected_until(entries)
    ends = [end - age * (end - begin) for age in reversed(range(len(report.recent)))]
    return tuple(
        tuple(name for name in columns if not (name in over and ((last := over[name]) is None or window_end < last)))
        for columns, window_end in zip(report.recent, ends, strict=True)
    )


def expected_until(entries: Sequence[Entry]) -> dict[str, datetime | None]:
    """Column -> window end of the report that ended its last expected drift; None while it goes on."""
    found: dict[str, datetime | None] = {}
    for entry in entries:
        for column in entry.columns:
            if isinstance(entry, End):
                if column in found and found[column] is None:
                    found[column] = entry.window_end
            elif entry.verdict is Verdict.expected:
                found[column] = None
            else:
                found.pop(column, None)  # a later review replaces an earlier one
    return found
