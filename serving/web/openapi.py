"""The OpenAPI 3.1 document of the service, built from the models that validate the requests."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from serving.web.admin_requests import ADMIN_MODELS, admin_paths
from serving.web.events_request import EventsRequest
from serving.web.predict_request import BatchRequest, PredictRequest, Scene, SimilarRequest
from serving.web.problems import MEDIA_TYPE as PROBLEM

REFERENCE = "#/components/schemas/{model}"
BUSY = "No champion is loaded yet, or too many requests wait; try again after Retry-After seconds"


class Contribution(BaseModel):
    """A part of a score."""

    source: str = Field(description="A base model, or a kind of feature.")
    meaning: str = Field(description="The source in words.")
    amount: float


class Counterfactual(BaseModel):
    """The rank that the item would have without the user's events of another item."""

    without: str | int = Field(description="The item whose events are left out.")
    n_events: int = Field(description="How many events these are.")
    last_event: str | None = Field(description="Time of the newest one; null if it is not known.")
    rank: int
    rank_without: int | None = Field(description="null: the item would not be among the ranked items.")


class Reasons(BaseModel):
    """Why an item is in the list."""

    score: float = Field(description="Of the model, to which the contributions add up.")
    contributions: list[Contribution] = Field(description="Largest first.")
    counterfactuals: list[Counterfactual] = Field(description="At most three, largest fall first.")


class RecommendedItem(BaseModel):
    """One item of a list."""

    item_id: str | int
    rank: int = Field(description="From 1.")
    score: float | None = Field(
        description="The probability that the user buys the item within the horizon of the evaluation, if the user "
        "buys anything; null if the model is not calibrated."
    )
    fields: dict[str, str | float | bool | None] | None = Field(
        default=None, description="The attributes that the request names in `fields`; null where a value is missing."
    )
    reasons: Reasons | None = Field(default=None, description="With `explain` only.")
    rules: list[str] | None = Field(
        default=None, description="The rules of the shop that placed or moved the item; left out if none did."
    )
    propensity: float | None = Field(
        default=None,
        description="With exploration: the probability with which this item is shown at this rank; left out where "
        "exploration changes nothing.",
    )


class PredictResponse(BaseModel):
    """A list for a user, best first.

    Item ids are numbers if the history's ids (without a history: user_id) are numbers and the id is a plain decimal;
    otherwise strings.
    """

    model_config = ConfigDict(protected_namespaces=())

    user_id: str | int = Field(description="As in the request.")
    items: list[RecommendedItem]
    model: str
    version: int
    strategy: Literal["known_user", "history", "segment", "popularity"]
    scene: Scene
    unknown_items: list[str | int] = Field(description="Ids of the history that the model does not know.")
    request_id: str
    milliseconds: float = Field(description="Time inside the service.")


class BatchResponse(BaseModel):
    """The answers to the requests of a batch, in their order. Each has a request_id of its own."""

    answers: list[PredictResponse]
    request_id: str
    milliseconds: float = Field(description="Time inside the service.")


class SimilarItem(BaseModel):
    """An item that is similar to another one."""

    item_id: str
    rank: int = Field(description="From 1.")
    score: float = Field(description="Larger is better; comparable within one answer only.")


class SimilarResponse(BaseModel):
    """Items similar to an item, best first; there may be fewer than asked for, or none. All ids are strings."""

    model_config = ConfigDict(protected_namespaces=())

    item_id: str
    kind: Literal["substitutes", "complements"]
    items: list[SimilarItem]
    model: str
    version: int
    strategy: Literal["features", "orders", "users"] = Field(description="From what the items were found.")
    request_id: str
    milliseconds: float = Field(description="Time inside the service.")


class EventsResponse(BaseModel):
    """How many events are stored now that were not before."""

    stored: int
    duplicates: int = Field(description="Events whose ids were stored already, or come twice in the request.")
    request_id: str


class Fault(BaseModel):
    """An error in one field."""

    field: str
    got: str
    allowed: str


class Problem(BaseModel):
    """Why the request got no list: problem details (RFC 9457)."""

    type: Literal["about:blank"]
    title: str = Field(description="The phrase of the status.")
    status: int
    detail: str = Field(description="What was sent, and what is allowed.")
    errors: list[Fault] = Field(default=[], description="One entry for each wrong field.")
    request_id: str = ""


@cache
def specification() -> dict[str, Any]:
    """The OpenAPI document."""
    requests = (PredictRequest, BatchRequest, EventsRequest)
    answers = (PredictResponse, BatchResponse, EventsResponse, SimilarResponse, Problem)
    models = [(model, "validation") for model in (*requests, *answers, *ADMIN_MODELS)]
    _, definitions = models_json_schema(models, ref_template=REFERENCE)  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tradewind",
            "version": "1",
            "description": "Recommendations for B2B marketplaces.",
        },
        "paths": _paths(),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"ApiKey": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"ApiKey": []}],  # without a key, if the service needs none
    }


def _paths() -> dict[str, Any]:
    return {
        "/predict": {
            "post": _post(
                "The best items for a user",
                PredictRequest,
                _content("A list, best first", "PredictResponse"),
                BUSY,
                {"504": "The deadline passed before the list was computed"},
            )
        },
        "/predict/batch": {
            "post": _post(
                "The best items for each of up to 100 users",
                BatchRequest,
                _content("Lists, in the order of the requests", "BatchResponse"),
                BUSY,
                {"504": "The deadline passed before the last list was computed"},
            )
        },
        "/similar/{item_id}": {"get": _similar()},
        "/events": {
            "post": _post(
                "Stores what users did",
                EventsRequest,
                _content("The events are on disk", "EventsResponse"),
                "Events cannot be stored now; send them again after Retry-After seconds",
            )
        },
        "/health": {"get": _operation("Whether the service is ready, and the version it serves", {"503": "Not ready"})},
        "/analytics": {"get": _operation("Requests, errors, latency and versions; an HTML page for browsers")},
        "/metrics": {"get": _operation("The same figures for Prometheus, in its text format")},
        **admin_paths(_content, _problem),
    }


def _post(
    summary: str,
    request: type[BaseModel],
    answer: dict[str, Any],
    unavailable: str,
    others: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """An operation with a JSON body. unavailable: when it answers 503. others: status -> when it has that one."""
    errors = {
        "400": "The body is not JSON",
        "401": "The service needs a key, and the request has none or a wrong one",
        "413": "The body is too long",
        "415": "The content type is not application/json",
        "422": "A field has a value that is not allowed",
        "429": "The key has sent more requests than its limit; try again after Retry-After seconds",
        "503": unavailable,
        **others,
    }
    return {
        "summary": summary,
        "requestBody": {"required": True, **_body(request.__name__)},
        "responses": {"200": answer, **{status: _problem(text) for status, text in errors.items()}},
    }


def _similar() -> dict[str, Any]:
    """GET /similar/{item_id}. A parameter of the query is described as its field of SimilarRequest is."""
    fields = SimilarRequest.model_json_schema()["properties"]
    item = {"name": "item_id", "in": "path", "required": True, "schema": {"type": "string"}}
    errors = {
        "401": "The service needs a key, and the request has none or a wrong one",
        "404": "The model does not know the item",
        "422": "A parameter has a value that is not allowed",
        "429": "The key has sent more requests than its limit; try again after Retry-After seconds",
        "503": "No champion is loaded yet; try again after Retry-After seconds",
    }
    return {
        "summary": "Items that can take the place of an item, or that are bought with it",
        "parameters": [item, *({"name": name, "in": "query", "schema": schema} for name, schema in fields.items())],
        "responses": {
            "200": _content("Items, best first", "SimilarResponse"),
            **{status: _problem(text) for status, text in errors.items()},
        },
    }


def _body(model: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": REFERENCE.format(model=model)}}}}


def _content(description: str, model: str) -> dict[str, Any]:
    return {"description": description, **_body(model)}


def _problem(description: str) -> dict[str, Any]:
    schema = {"schema": {"$ref": REFERENCE.format(model="Problem")}}
    return {"description": description, "content": {PROBLEM: schema}}


def _operation(summary: str, others: dict[str, str] | None = None) -> dict[str, Any]:
    responses = {"200": "OK", **(others or {})}
    return {
        "summary": summary,
        "responses": {status: {"description": text} for status, text in responses.items()},
    }
