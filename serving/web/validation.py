"""Parses and validates bodies. Errors state the field, the value and what is allowed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

MAX_SHOWN_CHARACTERS = 60  # characters of a wrong value in an error message
MAX_FAULTS = 10  # in one error message

Body = TypeVar("Body", bound=BaseModel)


class InvalidRequestError(Exception):
    """A request that is not valid: an HTTP status and, for each error, field, got and allowed."""

    def __init__(self, status: int, message: str, details: Sequence[dict[str, str]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.details = list(details)


def parse(model: type[Body], body: bytes, content_type: str, allowed: Mapping[str, str]) -> Body:
    """The object in a JSON body. allowed: field -> what is allowed in it; "field[]" for the elements of a list,
    "field{}" for the entries of an object with free names.

    Raises InvalidRequestError: 400 if the body is not JSON, 415 for another content type, 422 if a field is not valid.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise InvalidRequestError(415, f"content-type: got {display_value(content_type)}; allowed: application/json")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
    required = ", ".join(name for name, field in model.model_fields.items() if field.is_required())
    if faults[0]["type"] == "json_invalid":
        cause = faults[0]["msg"].removeprefix("Invalid JSON: ")
        raise InvalidRequestError(400, f"body: not JSON ({cause}); send an object with {required}")
    raise _invalid(faults, {"body": f"an object with {required}", **allowed}, list(model.model_fields))


def parse_query(model: type[Body], values: Mapping[str, str], allowed: Mapping[str, str]) -> Body:
    """The object in the query of an address. Raises InvalidRequestError(422) if a parameter is not valid."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
    raise _invalid(faults, allowed, list(model.model_fields))


def _invalid(faults: Sequence[Any], allowed: Mapping[str, str], fields: Sequence[str]) -> InvalidRequestError:
    return invalid(_details(faults, allowed, fields))


def invalid(details: Sequence[dict[str, str]]) -> InvalidRequestError:
    """The error of these faults: each has a field, what was got, and what is allowed."""
    shown = details[:MAX_FAULTS]
    message = "; ".join(f"{d['field']}: got {d['got']}; allowed: {d['allowed']}" for d in shown)
    return InvalidRequestError(422, message, shown)


def _details(faults: Iterable[Any], allowed: Mapping[str, str], fields: Sequence[str]) -> list[dict[str, str]]:
    """One entry for each wrong field: pydantic reports a union once for each of its types. fields: of the body.

    At most MAX_FAULTS: a body can have 200,000 wrong values, and no other request is answered meanwhile.
    """
    found: dict[str, dict[str, str]] = {}
    for fault in faults:
        if len(found) == MAX_FAULTS:
            break
        place, field = _place(fault["loc"], allowed)
        if fault["type"] == "extra_forbidden":
            place = f"{place}.{fault['loc'][-1]}" if place != "body" else str(fault["loc"][-1])
            place = place[:MAX_SHOWN_CHARACTERS]
            names = [name for name in allowed if name != "body" and not name.endswith(("[]", "{}"))]
            nested = [name for name in names if name not in fields]
            permitted = f"only the fields {', '.join(nested if '[' in place else fields)}"
        else:
            permitted = allowed[field]
        got = "nothing" if fault["type"] == "missing" else display_value(fault["input"])
        found.setdefault(place, {"field": place, "got": got, "allowed": permitted})
    return list(found.values())


def _place(path: Sequence[str | int], allowed: Mapping[str, str]) -> tuple[str, str]:
    """Where a fault is, for people, as events[3].item_id; and the key of `allowed` that describes it.

    A path ends with names of types where a field may have several; they are no keys of `allowed`.
    """
    place, field = "", "body"
    for step in path:
        if isinstance(step, int):
            place += f"[{step}]"
            field = f"{field}[]" if f"{field}[]" in allowed else "body"
        elif field.endswith("{}"):
            continue  # the name of a type
        elif f"{field}{{}}" in allowed:
            place, field = f"{place}.{step}"[:MAX_SHOWN_CHARACTERS], f"{field}{{}}"
        elif step in allowed:
            place += f".{step}" if place else step
            field = step
    return place or "body", field


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
