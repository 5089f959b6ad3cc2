"""What a request may say, and the words for what it may not."""

import json
from collections.abc import Collection, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

LONGEST_ID = 1024  # characters: the address of a product page fits
LONGEST_HISTORY = 1000  # events
MOST_ITEMS = 100
LARGEST_INT = 2**53 - 1  # beyond it JavaScript and many JSON readers round
LONGEST_NUMBER = len(str(LARGEST_INT))
LARGEST_BODY = 1100 * 1024  # bytes: a full history of the longest ids fits
SHOWN = 60  # characters of a wrong value that an error repeats

TextId = Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_ID)]
NumberId = Annotated[StrictInt, Field(ge=0, le=LARGEST_INT)]
Id = TextId | NumberId

ID = (
    f"a string of 1 to {LONGEST_ID} characters or a whole number from 0 to {LARGEST_INT}, send any other id as a string"
)
ALLOWED = {
    "user_id": ID,
    "history": f"a list of up to {LONGEST_HISTORY} item ids",
    "n_recommendations": f"a whole number from 1 to {MOST_ITEMS}",
}


class PredictRequest(BaseModel):
    """The body of POST /predict."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="PredictRequest")

    user_id: Id = Field(
        description="The user, by the id as the data writes it; one that is not known is answered too. "
        "Any id may be sent as a string.",
        examples=[17, "000055", "1700000000000435545"],
    )
    history: list[Id] = Field(
        default=[],
        max_length=LONGEST_HISTORY,
        description="The newest items of a known user, or all of any other's. Unknown ids are ignored and named.",
        examples=[[101, 2048]],
    )
    n_recommendations: Annotated[StrictInt, Field(ge=1, le=MOST_ITEMS)] = 10


class RefusedError(Exception):
    """A request that is not served: an HTTP status and, for each fault, field, got and allowed."""

    def __init__(self, status: int, message: str, details: Sequence[dict[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.details = list(details)


def parse(body: bytes, content_type: str) -> PredictRequest:
    """The request.

    Raises RefusedError: 400 for what is not JSON, 422 for JSON that says something it may not.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(400, f"content-type: got {shown(content_type)}; allowed: application/json")
    try:
        return PredictRequest.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
    if faults[0]["type"] == "json_invalid":
        told = faults[0]["msg"].removeprefix("Invalid JSON: ")
        raise RefusedError(400, f"body: not JSON ({told}); send an object with user_id")
    details = _details(faults)
    told = "; ".join(f"{d['field']}: got {d['got']}; allowed: {d['allowed']}" for d in details)
    raise RefusedError(422, told, details)


def _details(faults: Sequence[Any]) -> list[dict[str, str]]:
    """One entry for each field at fault: pydantic reports a union once for each of its members."""
    found: dict[str, dict[str, str]] = {}
    for fault in faults:
        place = fault["loc"]
        field = str(place[0])[:SHOWN] if place else "body"
        index = f"[{place[1]}]" if field == "history" and len(place) > 1 and isinstance(place[1], int) else ""
        if fault["type"] == "extra_forbidden":
            allowed = f"only the fields {', '.join(ALLOWED)}"
        else:
            allowed = ID if index else ALLOWED.get(field, "an object with user_id")
        got = "nothing" if fault["type"] == "missing" else shown(fault["input"])
        found.setdefault(field + index, {"field": field + index, "got": got, "allowed": allowed})
    return list(found.values())[:10]


def shown(value: object) -> str:
    """A wrong value as an error repeats it, cut short, true, false and null as JSON writes them.

    A number of many digits is not written out.
    """
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**SHOWN:
        return f"a number of {value.bit_length()} bits"
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def as_text(id_: str | int) -> str:
    """The id as it is known inside."""
    return id_ if isinstance(id_, str) else str(id_)


def unknown_as_sent(history: Sequence[str | int], unknown: Collection[str]) -> list[str | int]:
    """The ids of the history that are unknown, each once in the type and writing it was sent in."""
    return list(dict.fromkeys(id_ for id_ in history if as_text(id_) in unknown))


def wants_numbers(request: PredictRequest) -> bool:
    """Whether item ids go out as numbers: the history holds numbers only or, without one, user_id is one."""
    return all(isinstance(id_, int) for id_ in request.history or [request.user_id])


def as_sent(id_: str, numbers: bool) -> str | int:
    """The id in the type the client uses; one that is no plain decimal ("SKU-9", "007") stays a string."""
    plain = numbers and id_.isascii() and id_.isdigit() and (id_ == "0" or id_[0] != "0")
    return int(id_) if plain and len(id_) <= LONGEST_NUMBER and int(id_) <= LARGEST_INT else id_
