"""The requests below /admin/: their bodies and headers, what they answer, and their part of the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from serving.web import validation
from serving.web.predict_request import ID, NumberId, TextId
from serving.web.validation import InvalidRequestError, display_value

RULES_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/plain", "application/json")


class EraseRequest(BaseModel):
    """The body of POST /admin/erase."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_id: TextId | NumberId = Field(description="The id of the user, written as in the data.")


class InForce(BaseModel):
    """What one worker serves."""

    model_config = ConfigDict(protected_namespaces=())

    dataset: str
    model: str
    version: int
    catalogue: str = Field(description="The version of the served catalogue; empty without one.")
    rules: str = Field(description="The version of the rules of the shop; empty without rules.")
    problems: dict[str, str] = Field(
        description="Why a newer `champion`, `catalogue` or `rules` do not serve; empty if the newest do."
    )
    request_id: str


class RefusedRules(BaseModel):
    """A file of rules that does not serve."""

    version: str | None = Field(description="null if the file has no rules that could be read.")
    error: str


class RulesInForce(BaseModel):
    """The rules of the shop that one worker serves."""

    text: str = Field(description="As their file states them.")
    version: str = Field(description="The SHA-256 of the rules without comments and spaces; empty without rules.")
    refused: RefusedRules | None = Field(description="The newest file, if it does not serve.")
    request_id: str


class Erased(BaseModel):
    """The receipt of an erasure."""

    erased_at: str = Field(description="ISO 8601, UTC. What the user did before counts for nothing any more.")
    deleted: dict[str, int] = Field(description="Table of the feedback store -> number of deleted rows.")
    remains: list[str] = Field(description="What may still hold data of the user, and until when.")
    request_id: str


def parse_erase(body: bytes, content_type: str) -> str | int:
    """The user id in the body of POST /admin/erase. Raises InvalidRequestError as validation.parse() does."""
    return validation.parse(EraseRequest, body, content_type, {"user_id": ID}).user_id


def check_rules_type(content_type: str) -> None:
    """Raises InvalidRequestError(415) if the content type of PUT /admin/rules is none of RULES_TYPES."""
    if content_type.partition(";")[0].strip().lower() not in RULES_TYPES:
        raise InvalidRequestError(
            415, f"content-type: got {display_value(content_type)}; allowed: {', '.join(RULES_TYPES)}"
        )


def versions_of(if_match: str | None) -> frozenset[str] | None:
    """The versions of rules in the header If-Match; None for `*`. Raises InvalidRequestError(428) without it."""
    if if_match is None:
        raise InvalidRequestError(
            428,
            "if-match: got nothing; allowed: the version of the rules that this file replaces, in quotes, or * to "
            "replace any; read it with GET /admin/rules",
        )
    tags = [tag.strip() for tag in if_match.split(",")]
    return None if tags == ["*"] else frozenset(tag.removeprefix("W/").strip('"') for tag in tags)


ADMIN_MODELS = (EraseRequest, InForce, RulesInForce, Erased)

# status -> when a request is answered with it
_REFUSED = {
    "401": "The request has no key or a wrong one",
    "403": "The key has not the scope admin, or the service has no file of keys",
}
_NO_CHAMPION = {"503": "No champion is loaded yet; try again after Retry-After seconds"}
_RULES_REFUSED = {
    "409": "The file of rules cannot be written here",
    "412": "Other rules serve than those that if-match names",
    "413": "The body is too long",
    "415": "The content type is neither YAML nor JSON",
    "422": "The rules are not valid; the old ones stay",
    "428": "if-match is missing",
    **_NO_CHAMPION,
}
_ERASE_REFUSED = {
    "400": "The body is not JSON",
    "415": "The content type is not application/json",
    "422": "A field has a value that is not allowed",
    "503": "The feedback store cannot be reached; nothing was deleted; send the request again",
}

_IF_MATCH = {
    "name": "if-match",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "description": "The version of the rules that this file replaces, in quotes; * replaces any.",
}
_RULES_BODY = {"required": True, "content": {kind: {"schema": {"type": "string"}} for kind in RULES_TYPES}}


def admin_paths(content: Any, problem: Any) -> dict[str, Any]:
    """The paths of the OpenAPI document. content: description and model -> content; problem: description -> content."""

    def operation(summary: str, model: str, errors: Mapping[str, str], **others: Any) -> dict[str, Any]:
        found = {status: problem(text) for status, text in {**_REFUSED, **errors}.items()}
        return {"summary": summary, **others, "responses": {"200": content("Done", model), **found}}

    replace = {"parameters": [_IF_MATCH], "requestBody": _RULES_BODY}
    erase = {"requestBody": {"required": True, "content": content("", "EraseRequest")["content"]}}
    return {
        "/admin/reload": {
            "post": operation("Reads champion, catalogue and rules from disk now", "InForce", _NO_CHAMPION)
        },
        "/admin/rules": {
            "get": operation("The rules of the shop that serve", "RulesInForce", _NO_CHAMPION),
            "put": operation("Replaces the file of rules, and serves them", "RulesInForce", _RULES_REFUSED, **replace),
        },
        "/admin/erase": {
            "post": operation("Deletes what the service holds of a user", "Erased", _ERASE_REFUSED, **erase)
        },
    }
