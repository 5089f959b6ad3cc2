"""Reviews: what is stored, what they silence, and when they end."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitoring.drift.feed.problems import FeedProblem
from monitoring.drift.judgement import METHOD, ColumnDrift
from monitoring.drift.report import DriftReport, Window
from monitoring.drift.reviews import (
    Review,
    ReviewLog,
    Verdict,
    causes,
    expected_now,
    recent_to_retrain,
    review,
    standing,
    unreviewed,
)
from recommenders.errors import ConfigurationError, DataError

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
PRICES = FeedProblem("unit_price", 1.0, 0.0, 0.9, "unit_price has a value in 0% of the newest events")
COLUMNS = ("category", "region", "log_unit_price")


def found(*drifted: str, weeks: float = 0, recent: tuple[tuple[str, ...], ...] | None = None) -> DriftReport:
    """A report, so many weeks after the first one, in which these columns drifted."""
    end = NOON + weeks * WEEK
    columns = tuple(ColumnDrift(name, 5.0, 4.0, METHOD, name in drifted, "") for name in COLUMNS)
    window = Window(end - WEEK, end, 900)
    recent = ((), (), drifted) if recent is None else recent
    return DriftReport(bool(drifted), True, columns, window, window, (), "", recent=recent)


def broken(report: DriftReport) -> DriftReport:
    return replace(report, fired=True, feed_problems=(PRICES,))


@pytest.fixture
def log(tmp_path: Path) -> ReviewLog:
    return ReviewLog(tmp_path / "reviews" / "toy.jsonl")


def write(log: ReviewLog, report: DriftReport, *columns: str, verdict: Verdict = Verdict.acknowledged) -> Review:
    written = review(report, "toy", columns, verdict, "Ann", "campaign", NOON)
    log.append(written)
    return written


def update(log: ReviewLog, report: DriftReport) -> tuple[str, ...]:
    """What raises an alert after this report."""
    return unreviewed(report, log.update("toy", report, NOON))


def test_a_review_silences_its_columns_until_a_report_without_them(log: ReviewLog) -> None:
    assert update(log, found("category")) == ("category",)
    written = write(log, found("category"), "category")
    assert log.entries() == [written]
    assert update(log, found("category", weeks=1)) == ()
    assert update(log, found("category", "region", weeks=2)) == ("region",)
    assert update(log, found("region", weeks=3)) == ("region",)
    assert update(log, found("category", weeks=4)) == ("category",)
    assert [entry.kind for entry in log.entries()] == ["review", "end"]
    assert "category: acknowledged by Ann, 2026-05-04 12:00 UTC: campaign" in str(written)


def test_a_report_that_could_not_test_a_column_ends_no_review(log: ReviewLog) -> None:
    write(log, found("category", "region"), "category", "region")
    quiet = found(weeks=1)
    for unknown in (replace(quiet, tested=False), broken(quiet), replace(quiet, columns=quiet.columns[1:])):
        log.update("toy", unknown, NOON)
        assert "category" in standing(log.entries())
    assert "region" not in standing(log.entries())  # the last report tested it
    log.update("toy", quiet, NOON)
    assert standing(log.entries()) == {}


def test_a_fault_of_the_feed_is_another_cause_than_a_drift_of_its_column(log: ReviewLog) -> None:
    report = broken(found("log_unit_price"))
    assert causes(report) == ("feed unit_price",)
    write(log, report, "feed unit_price")
    assert update(log, report) == ()
    assert update(log, found("log_unit_price")) == ("log_unit_price",)
    assert update(log, report) == ("feed unit_price",)


def test_an_expected_drift_starts_no_retraining_and_a_new_one_of_the_column_does(log: ReviewLog) -> None:
    before = (("category",), ("category", "region"), ("category",))
    write(log, found("category"), "category")
    assert recent_to_retrain(found("category", recent=before), log.entries()) == before  # acknowledged only
    assert expected_now(log.entries()) == ()
    write(log, found("category"), "category", verdict=Verdict.expected)
    assert expected_now(log.entries()) == ("category",)
    assert recent_to_retrain(found("category", recent=before), log.entries()) == ((), ("region",), ())
    quiet = found(weeks=1, recent=(*before[1:], ()))
    log.update("toy", quiet, NOON)
    assert expected_now(log.entries()) == ()
    assert recent_to_retrain(quiet, log.entries()) == (("region",), (), ())  # its windows were expected
    again = found("category", weeks=2, recent=(("category",), (), ("category",)))
    assert recent_to_retrain(again, log.entries()) == ((), (), ("category",))
    lasting = found("category", weeks=3, recent=((), ("category",), ("category",)))
    assert recent_to_retrain(lasting, log.entries()) == lasting.recent


def test_a_later_review_replaces_an_earlier_one(log: ReviewLog) -> None:
    report = found("category", recent=((), ("category",), ("category",)))
    write(log, report, "category", verdict=Verdict.expected)
    write(log, report, "category")
    assert standing(log.entries())["category"].verdict is Verdict.acknowledged
    assert recent_to_retrain(report, log.entries()) == report.recent
    assert len(log.entries()) == 2


@pytest.mark.parametrize(
    ("columns", "by", "why", "message"),
    [
        (["planet"], "Ann", "why", "columns: got planet; allowed: category, log_unit_price"),
        (["region"], "Ann", "why", "columns: got region; allowed: category, log_unit_price"),
        ([], "Ann", "why", "columns: got none; allowed: category"),
        (["category"], " ", "why", "by: got nothing; allowed: the name of a person"),
        (["category"], "Ann", "\n", "why: got nothing; allowed: the reason in words"),
    ],
)
def test_a_review_names_a_cause_a_person_and_a_reason(columns: list[str], by: str, why: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        review(found("category", "log_unit_price"), "toy", columns, Verdict.expected, by, why, NOON)


def test_names_of_the_summary_are_understood_and_texts_are_one_line() -> None:
    report = found("log_unit_price")
    written = review(report, "toy", ["unit_price", "log_unit_price"], Verdict.expected, "Ann ", "a\nb", NOON)
    assert (written.columns, written.by, written.why) == (("log_unit_price",), "Ann", "a b")
    with pytest.raises(ConfigurationError, match="allowed: none: the newest drift report found neither drift nor"):
        review(found(), "toy", ["category"], Verdict.expected, "Ann", "why", NOON)


def test_no_review_is_lost_when_several_are_written_at_once(log: ReviewLog) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(24):
            pool.submit(write, log, found("category"), "category")
    assert len(log.entries()) == 24
    log.path.write_text(log.path.read_text() + '{"kind": "review"\n')
    with pytest.raises(DataError, match=r"toy\.jsonl has a line that is no review: .*; correct or remove this line"):
        log.entries()
