"""Links to the launchpad of a job in Dagster's web pages, with fields that are filled in."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from orchestration.jobs import PARTITION_TAG, RETRAINING
from orchestration.settings import Settings


def launchpad_url(settings: Settings, job: str, config: str = "", tags: Mapping[str, str] | None = None) -> str:
    """The address of the launchpad of a job. config: of the run, YAML. tags: of the run."""
    fields = {"config": config} if config else {}
    for index, (key, value) in enumerate((tags or {}).items()):
        fields |= {f"tags[{index}][key]": key, f"tags[{index}][value]": value}
    filled_in = urlencode(fields, quote_via=quote)
    return f"{settings.urls['dagster']}/locations/tradewind/jobs/{job}/playground/setup?{filled_in}"


def retraining_url(settings: Settings, dataset: str) -> str:
    """The launchpad of the retraining of a data set."""
    return launchpad_url(settings, RETRAINING, tags={PARTITION_TAG: dataset})
