"""The types of settings that have a text form of their own: a cron line, and weights in JSON."""

import json
from typing import Annotated, Any

import dagster as dg
from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from recommenders.datasets.reading.counted_feedback import check_weights


def _cron(line: str) -> str:
    try:
        dg.ScheduleDefinition(job_name="any", cron_schedule=line)
    except dg.DagsterInvalidDefinitionError:
        raise ValueError("allowed: a cron line such as '0 2 * * *' (minute, hour, day, month, weekday)") from None
    return line


Cron = Annotated[str, AfterValidator(_cron)]


def _from_json(given: Any) -> Any:
    """The value of an environment variable in JSON; any other value as it is."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        raise ValueError('allowed: JSON such as {"purchase": 1.0, "cart": 0.3}') from None


# NoDecode: an error of the JSON would otherwise not name the variable
Weights = Annotated[dict[str, float], NoDecode, BeforeValidator(_from_json), AfterValidator(check_weights)]
