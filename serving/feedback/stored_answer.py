"""An answer of POST /predict as the feedback store holds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A row of the table of answers, without its data set."""

    request_id: str
    answered_at: int
    user_id: str
    scene: str
    strategy: str
    model: str
    version: int
    request: str
    recent: Sequence[str]
    items: Sequence[Mapping[str, Any]]
    catalogue: str = ""  # version of the served catalogue; empty without one
    rules: str = ""  # version of the rules of the shop; empty without rules
    since: int | None = None  # of an erased user: only events after this time counted (Predictor.query)
