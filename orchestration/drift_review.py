"""How a person reviews a drift: the job `review_drift` in Dagster, and the command `tradewind drift review`."""

from collections.abc import Collection

import dagster as dg
from pydantic import Field

from monitoring.drift.report import DriftReport
from monitoring.drift.reviews import Review, ReviewLog, Verdict, review, unreviewed
from orchestration.io_manager import Lake
from orchestration.jobs import REVIEW
from orchestration.launchpad import launchpad_url
from orchestration.settings import Settings
from recommenders import clock
from recommenders.errors import ConfigurationError, DataError

STEP = "review"
LAUNCHPAD = """\
ops:
  {step}:
    config:
      dataset: {dataset}
      columns: [{columns}]
      # acknowledged: no more alerts of it; expected: no retraining for it either
      verdict: acknowledged
      # your name, and the reason in quotes
      by: 
      why: """  # Dagster refuses a value that is missing


class ReviewConfig(dg.Config):
    """What a person writes about the causes of the newest drift report (docs/drift.md)."""

    dataset: str = Field("", description="Name of the data set; empty: the one that is served.")
    columns: list[str] = Field(description="Columns that drifted, as the page of drift_report names them.")
    verdict: Verdict = Field(description="acknowledged: no more alerts. expected: no retraining for it either.")
    by: str = Field(description="Who reviews.")
    why: str = Field(description="The reason, in words.")


@dg.op(name=STEP)
def write_review(context: dg.OpExecutionContext, config: ReviewConfig, settings: dg.ResourceParam[Settings]) -> None:
    """Stores a review of the newest drift report, and shows it on the page of the asset."""
    name = config.dataset or settings.dataset
    try:
        written = store_review(
            settings.for_dataset(name), config.columns, Verdict(config.verdict), config.by, config.why
        )
    except (ConfigurationError, DataError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info(str(written))
    seen = {"dataset": name, "review": str(written), "window end": str(written.window_end)}
    context.log_event(dg.AssetObservation("drift_report", partition=name, metadata=seen))


@dg.job(
    name=REVIEW,
    description="Stores what a person knows about a drift: no more alerts of it, or no retraining for it either.",
    tags={"dagster/priority": "10"},  # before the trainings that wait
)
def review_drift() -> None:
    """One step."""
    write_review()


def store_review(settings: Settings, columns: Collection[str], verdict: Verdict, by: str, why: str) -> Review:
    """Stores a review of the newest drift report of settings.dataset, and ends the incident if all is reviewed.

    The incident of a broken feed goes on until the feed is repaired. Raises ConfigurationError and DataError.
    """
    name, log = settings.dataset, reviews_of(settings)
    report = newest_report(settings)
    written = review(report, name, columns, verdict, by, why, clock.now())
    log.append(written)
    if not report.feed_problems and not unreviewed(report, log.entries()):
        settings.alerts.recover("drift", name)
    return written


def newest_report(settings: Settings) -> DriftReport:
    """The newest drift report of settings.dataset. Raises DataError if there is none."""
    lake, name = Lake(root=str(settings.lake)), settings.dataset
    if not lake.path(name, "drift_report", DriftReport).exists():
        raise DataError(f"{name} has no drift report yet; materialise drift_report in Dagster")
    found: DriftReport = lake.read(name, "drift_report", DriftReport)
    return found


def reviews_of(settings: Settings) -> ReviewLog:
    """The reviews of settings.dataset."""
    return ReviewLog(settings.home / "reviews" / f"{settings.dataset}.jsonl")


def review_url(settings: Settings, columns: Collection[str]) -> str:
    """The launchpad of the job with these columns; the person adds name and reason."""
    config = LAUNCHPAD.format(step=STEP, dataset=settings.dataset, columns=", ".join(columns))
    return launchpad_url(settings, REVIEW, config)
