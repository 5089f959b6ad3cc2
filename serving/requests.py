"""Parses and validates requests, and converts ids. Errors state the field, the value and what is allowed."""

import json
from collections.abc import Collection, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

MAX_ID_LENGTH = 1024  # characters: the URL of an item's page fits
MAX_HISTORY_LENGTH = 1000  # events
MAX_ITEMS = 100
MAX_SAFE_INTEGER = 2**53 - 1  # JavaScript and many JSON readers round larger numbers
MAX_DIGITS = len(str(MAX_SAFE_INTEGER))
MAX_BODY_BYTES = 1100 * 1024  # bytes: a history of maximum length with the longest ids fits
MAX_SHOWN_CHARACTERS = 60  # characters of a wrong value in an error message

TextId = Annotated[StrictStr, Field(min_length=1, max_length=MAX_ID_LENGTH)]
NumberId = Annotated[StrictInt, Field(ge=0, le=MAX_SAFE_INTEGER)]
Id = TextId | NumberId

ID = (
    f"a string of 1 to {MAX_ID_LENGTH} characters or a whole number from 0 to {MAX_SAFE_INTEGER}, "
    "send any other id as a string"
)
ALLOWED = {
    "user_id": ID,
    "history": f"a list of up to {MAX_HISTORY_LENGTH} item ids",
    "n_recommendations": f"a whole number from 1 to {MAX_ITEMS}",
}


class PredictRequest(BaseModel):
    """The body of POST /predict."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="PredictRequest")

    user_id: Id = Field(
        description="The id of the user, written as in the data. An unknown user gets a list too. "
        "Any id may be sent as a string.",
        examples=[17, "000055", "1700000000000435545"],
    )
    history: list[Id] = Field(
        default=[],
        max_length=MAX_HISTORY_LENGTH,
        description="The items of a known user's newest events, or of all events of any other user. "
        "Unknown ids are ignored and returned in unknown_items.",
        examples=[[101, 2048]],
    )
    n_recommendations: Annotated[StrictInt, Field(ge=1, le=MAX_ITEMS)] = 10


class InvalidRequestError(Exception):
    """A request that is not valid: an HTTP status and, for each error, field, got and allowed."""

    def __init__(self, status: int, message: str, details: Sequence[dict[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.details = list(details)


def parse(body: bytes, content_type: str) -> PredictRequest:
    """The request in a body.

    Raises InvalidRequestError: 400 if the body is not JSON, 415 for another content type, 422 if a field is not valid.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise InvalidRequestError(415, f"content-type: got {display_value(content_type)}; allowed: application/json")
    try:
        return PredictRequest.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
    if faults[0]["type"] == "json_invalid":
        cause = faults[0]["msg"].removeprefix("Invalid JSON: ")
        raise InvalidRequestError(400, f"body: not JSON ({cause}); send an object with user_id")
    details = _details(faults)
    message = "; ".join(f"{d['field']}: got {d['got']}; allowed: {d['allowed']}" for d in details)
    raise InvalidRequestError(422, message, details)


def _details(faults: Sequence[Any]) -> list[dict[str, str]]:
    """One entry for each wrong field: pydantic reports a union once for each of its types."""
    found: dict[str, dict[str, str]] = {}
    for fault in faults:
        path = fault["loc"]
        field = str(path[0])[:MAX_SHOWN_CHARACTERS] if path else "body"
        index = f"[{path[1]}]" if field == "history" and len(path) > 1 and isinstance(path[1], int) else ""
        if fault["type"] == "extra_forbidden":
            allowed = f"only the fields {', '.join(ALLOWED)}"
        else:
            allowed = ID if index else ALLOWED.get(field, "an object with user_id")
        got = "nothing" if fault["type"] == "missing" else display_value(fault["input"])
        found.setdefault(field + index, {"field": field + index, "got": got, "allowed": allowed})
    return list(found.values())[:10]


def display_value(value: object) -> str:
    """A wrong value as text for an error message, cut to MAX_SHOWN_CHARACTERS; true, false and null as in JSON.

    A number with very many digits is given by its number of bits.
    """
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**MAX_SHOWN_CHARACTERS:
        return f"a number of {value.bit_length()} bits"
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def as_text(id_: str | int) -> str:
    """The id as text, the form that models use."""
    return id_ if isinstance(id_, str) else str(id_)


def unknown_as_sent(history: Sequence[str | int], unknown: Collection[str]) -> list[str | int]:
    """The unknown ids of the history, each once, in the type and spelling of the request."""
    return list(dict.fromkeys(id_ for id_ in history if as_text(id_) in unknown))


def uses_numeric_ids(request: PredictRequest) -> bool:
    """Whether the response returns item ids as numbers: all ids of the history are; without a history, user_id is."""
    return all(isinstance(id_, int) for id_ in request.history or [request.user_id])


def as_sent(id_: str, numbers: bool) -> str | int:
    """The id in the type that the client uses; an id that is not a plain decimal ("SKU-9", "007") stays a string."""
    plain = numbers and id_.isascii() and id_.isdigit() and (id_ == "0" or id_[0] != "0")
    return int(id_) if plain and len(id_) <= MAX_DIGITS and int(id_) <= MAX_SAFE_INTEGER else id_
