"""The requests for lists: fields and limits of POST /predict, POST /predict/batch and GET /similar; ids."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    WithJsonSchema,
)

from serving.web import validation

MAX_ID_LENGTH = 1024  # characters: the URL of an item's page fits
MAX_HISTORY_LENGTH = 1000  # events
MAX_ITEMS = 100
MAX_BATCH = 100  # requests
MAX_FIELDS = 100
MAX_CONTEXT = 20  # attributes of a request
MAX_CONTEXT_LENGTH = 256  # characters of a value
MAX_SAFE_INTEGER = 2**53 - 1  # JavaScript and many JSON readers round larger numbers
MAX_DIGITS = len(str(MAX_SAFE_INTEGER))
MAX_BODY_BYTES = 1100 * 1024  # bytes: a history of maximum length with the longest ids fits

TextId = Annotated[StrictStr, Field(min_length=1, max_length=MAX_ID_LENGTH)]
NumberId = Annotated[StrictInt, Field(ge=0, le=MAX_SAFE_INTEGER)]
Id = TextId | NumberId

Scene = Literal["for_you", "reorder", "discover", "basket"]

ID = (
    f"a string of 1 to {MAX_ID_LENGTH} characters or a whole number from 0 to {MAX_SAFE_INTEGER}, "
    "send any other id as a string"
)
ALLOWED = {
    "user_id": ID,
    "history": f"a list of up to {MAX_HISTORY_LENGTH} item ids",
    "history[]": ID,
    "n_recommendations": f"a whole number from 1 to {MAX_ITEMS}",
    "scene": "for_you, reorder, discover or basket",
    "exclude": f"a list of up to {MAX_HISTORY_LENGTH} item ids",
    "exclude[]": ID,
    "fields": f"a list of up to {MAX_FIELDS} names of attributes of items",
    "fields[]": "a name of an attribute of items",
    "filters": f"an object of up to {MAX_FIELDS} attributes -> a value, a list, or an object of min, max and not",
    "explain": "true or false",
    "diversity": "a number from 0 to 1",
    "context": f"an object of up to {MAX_CONTEXT} names -> values",
    "context{}": "a name of 1 to 64 letters, digits and _, which begins with no digit -> a string of up to "
    f"{MAX_CONTEXT_LENGTH} characters, a number, true or false",
}

ContextName = Annotated[StrictStr, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]  # as rules can write it
ContextText = Annotated[StrictStr, Field(max_length=MAX_CONTEXT_LENGTH)]
ContextNumber = Annotated[StrictFloat, Field(allow_inf_nan=False)]  # 5 is 5.0, as for attributes of items
ContextValue = StrictBool | ContextText | ContextNumber


def _whole(value: object) -> object:
    """10.0 as 10: JSON Schema counts it as an integer, and some writers of JSON send it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


NItems = Annotated[StrictInt, Field(ge=1, le=MAX_ITEMS), BeforeValidator(_whole)]

AttributeName = Annotated[StrictStr, Field(max_length=64)]
_VALUE = {"type": ["string", "number", "boolean"]}
_VALUES: list[dict[str, Any]] = [_VALUE, {"type": "array", "items": _VALUE, "minItems": 1}]
_RANGE = {
    "type": "object",
    "properties": {"min": {"type": "number"}, "max": {"type": "number"}, "not": {"anyOf": _VALUES}},
    "additionalProperties": False,
    "minProperties": 1,
}
# Checked when the kinds of attributes are known (serving.steering.catalogue.conditions); this describes it for clients.
Condition = Annotated[Any, WithJsonSchema({"anyOf": [*_VALUES, _RANGE]})]


class PredictRequest(BaseModel):
    """The body of POST /predict."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="PredictRequest")

    user_id: Id = Field(
        description="The id of the user, written as in the data. An unknown user gets a list too. "
        "Any id may be sent as a string.",
        examples=[17, "000055", "1700000000000435545"],
    )
    history: tuple[Id, ...] = Field(  # tuples: pydantic copies the default of a list for each request
        default=(),
        max_length=MAX_HISTORY_LENGTH,
        description="The items of a known user's newest events, or of all events of any other user. "
        "Unknown ids are ignored and returned in unknown_items.",
        examples=[[101, 2048]],
    )
    n_recommendations: NItems = 10
    scene: Scene = Field(
        default="for_you",
        description="`for_you`: all items. `reorder`: items that the user bought before. `discover`: items that the "
        "user never bought. `basket`: items that go with those of `history`, which is the basket.",
    )
    exclude: tuple[Id, ...] = Field(
        default=(), max_length=MAX_HISTORY_LENGTH, description="Items that must not be in the list, such as the cart."
    )
    fields: tuple[AttributeName, ...] = Field(
        default=(),
        max_length=MAX_FIELDS,
        description="Attributes of items that each item of the answer states, such as title and price.",
        examples=[["title", "price"]],
    )
    filters: dict[AttributeName, Condition] = Field(
        default_factory=dict,
        max_length=MAX_FIELDS,
        description="Attribute -> condition. Only items that meet all of them are in the list. A condition is a value, "
        'a list of values, or an object: for numbers `{"min": 5, "max": 20}`, for all `{"not": ...}`. A missing value '
        "meets none.",
        examples=[{"category": "Tools", "price": {"max": 20}}],
    )
    explain: StrictBool = Field(default=False, description="Whether each item gets `reasons`.")
    context: dict[ContextName, ContextValue] = Field(
        default_factory=dict,
        max_length=MAX_CONTEXT,
        description="Attributes of the request, such as the channel. The rules of the shop can ask for them.",
        examples=[{"channel": "app", "country": "DE"}],
    )
    diversity: Annotated[StrictFloat, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=0.0,
        description="How much the items of the list should differ, from 0 (off) to 1: maximal marginal relevance over "
        "the model's best items.",
    )


class BatchedRequest(PredictRequest):
    """A request inside a batch: without reasons, which take as long as twenty lists."""

    explain: Literal[False] = False


class BatchRequest(BaseModel):
    """The body of POST /predict/batch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: Annotated[tuple[BatchedRequest, ...], Field(min_length=1, max_length=MAX_BATCH)]


BATCH_ALLOWED = {
    "requests": f"a list of 1 to {MAX_BATCH} requests",
    "requests[]": "an object with user_id",
    **ALLOWED,
    "explain": "false; ask for reasons with POST /predict",
}


def parse_batch(body: bytes, content_type: str) -> tuple[BatchedRequest, ...]:
    """The requests in the body of POST /predict/batch. Raises InvalidRequestError as validation.parse() does."""
    return validation.parse(BatchRequest, body, content_type, BATCH_ALLOWED).requests


class SimilarRequest(BaseModel):
    """The parameters of GET /similar/{item_id}."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["substitutes", "complements"] = Field(
        default="substitutes",
        description="`substitutes`: items that can take its place. `complements`: items that are bought with it.",
    )
    n: Annotated[int, Field(ge=1, le=MAX_ITEMS)] = Field(default=10, description="How many items, at most.")


SIMILAR_ALLOWED = {"kind": "substitutes or complements", "n": f"a whole number from 1 to {MAX_ITEMS}"}


def parse_similar(query: Mapping[str, str]) -> SimilarRequest:
    """The parameters of a query. Raises InvalidRequestError as validation.parse_query() does."""
    return validation.parse_query(SimilarRequest, query, SIMILAR_ALLOWED)


def parse(body: bytes, content_type: str) -> PredictRequest:
    """The request in the body of POST /predict. Raises InvalidRequestError as validation.parse() does."""
    return validation.parse(PredictRequest, body, content_type, ALLOWED)


def as_text(id_: str | int) -> str:
    """The id as text, the form that models use."""
    return id_ if isinstance(id_, str) else str(id_)


def unknown_as_sent(history: Sequence[str | int], unknown: Collection[str]) -> list[str | int]:
    """The unknown ids of the history, each once, in the type and spelling of the request."""
    return list(dict.fromkeys(id_ for id_ in history if as_text(id_) in unknown))


def uses_numeric_ids(request: PredictRequest) -> bool:
    """Whether the response returns item ids as numbers: all ids of the history are; without a history, user_id is."""
    return all(isinstance(id_, int) for id_ in request.history or [request.user_id])


@lru_cache(maxsize=1_000_000)  # of items, which are in many lists
def as_sent(id_: str, numbers: bool) -> str | int:
    """The id in the type that the client uses; an id that is not a plain decimal ("SKU-9", "007") stays a string."""
    plain = numbers and id_.isascii() and id_.isdigit() and (id_ == "0" or id_[0] != "0")
    return int(id_) if plain and len(id_) <= MAX_DIGITS and int(id_) <= MAX_SAFE_INTEGER else id_
