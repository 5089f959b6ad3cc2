"""The query of GET /similar/{item_id}."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.web import validation
from serving.web.predict_request import MAX_ITEMS

ALLOWED = {"kind": "substitutes or complements", "n": f"a whole number from 1 to {MAX_ITEMS}"}


class SimilarRequest(BaseModel):
    """The parameters of GET /similar/{item_id}."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["substitutes", "complements"] = Field(
        default="substitutes",
        description="`substitutes`: items that can take its place. `complements`: items that are bought with it.",
    )
    n: Annotated[int, Field(ge=1, le=MAX_ITEMS)] = Field(default=10, description="How many items, at most.")


def parse_similar(query: Mapping[str, str]) -> SimilarRequest:
    """The parameters of a query. Raises InvalidRequestError as validation.parse_query() does."""
    return validation.parse_query(SimilarRequest, query, ALLOWED)
