"""The options of batch lists, as POST /predict has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from recommenders.errors import ConfigurationError
from serving.web.predict_request import ALLOWED, PredictRequest
from serving.web.validation import InvalidRequestError, display_value, parse

Format = Literal["parquet", "csv"]

FORMATS: tuple[Format, ...] = get_args(Format)
COLUMNS = ("user_id", "rank", "item_id", "score", "strategy", "rules")  # of a file of lists; fields follow
NAMES = {"n_recommendations": "n"}  # field of a request -> option


@dataclass(frozen=True)
class BatchOptions:
    """What each list of a batch is for; limits and defaults are those of POST /predict."""

    scene: str = "for_you"
    n: int = 10
    fields: Sequence[str] = ()  # each becomes a column
    filters: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """The options as fields of a request."""
        options = {"scene": self.scene, "n_recommendations": self.n}
        return {**options, "fields": list(dict.fromkeys(self.fields)), "filters": dict(self.filters)}

    def request(self) -> PredictRequest:
        """A request with these options, of any user. Raises ConfigurationError with all faults."""
        try:
            asked = parse_request({"user_id": "any", **self.body()})
        except InvalidRequestError as error:
            raise faults_of(error) from error
        if taken := [name for name in self.fields if name in COLUMNS]:
            raise ConfigurationError(
                f"batch fields: got {taken[0]!r}, which is a column of every file of lists; allowed: other attributes; "
                "give the attribute another name"
            )
        return asked


def parse_request(body: Mapping[str, Any]) -> PredictRequest:
    """The request of a body, checked as the service does.

    Raises InvalidRequestError, ConfigurationError for bytes of a command line that are no text.
    """
    try:
        sent = orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise ConfigurationError(f"batch: got an option that is not UTF-8 text ({error}); allowed: text") from error
    return parse(PredictRequest, sent, "application/json", ALLOWED)


def faults_of(error: InvalidRequestError) -> ConfigurationError:
    """The same faults, by the names of the options."""
    places = [(NAMES.get(one["field"], one["field"]), one) for one in error.details]
    return ConfigurationError(
        "; ".join(f"batch {place}: got {one['got']}; allowed: {one['allowed']}" for place, one in places)
    )


def read_filters(text: str) -> dict[str, Any]:
    """The filters in a JSON object. Raises ConfigurationError."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ConfigurationError(
            f'batch filters: got {display_value(text)}; allowed: a JSON object such as {{"category": "Tools"}}; '
            "put it between single quotes in a shell"
        )
    return found


def format_of(output: Path | None, given: str | None) -> Format:
    """The format of a file of lists: the one given, else as its name ends; Parquet without either.

    Raises ConfigurationError for another format or end of the name, or if the two differ.
    """
    suffix = output.suffix.removeprefix(".") if output else None
    if given is None and output and suffix not in FORMATS:
        raise ConfigurationError(
            f"--output: got {output.name}; allowed: a name that ends in .parquet or .csv; rename it, or give --format"
        )
    for found in FORMATS:
        if found == (given or suffix or "parquet"):
            if suffix in FORMATS and suffix != found:
                break
            return found
    fits = f"{suffix}, as --output ends" if suffix in FORMATS else " or ".join(FORMATS)
    raise ConfigurationError(f"--format: got {display_value(given)}; allowed: {fits}")
