"""The rules of the shop as their file states them: a list of rules, each with conditions and one action."""

import hashlib
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recommenders.errors import TradewindError
from serving.web.predict_request import Scene

MAX_RULES = 100
MAX_EXPRESSION = 2000  # characters
MAX_SHOWN = 60  # characters of a wrong value in a message

Expression = Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION)]
Slot = Annotated[int, Field(ge=1, le=100)]


class RulesError(TradewindError):
    """A file of rules that cannot be used; the message names the rule, what was got and what is allowed."""


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    when: Expression | None = None  # of the request; None: always


class _ItemsRule(_Rule):
    items: Expression


class _AnyItemsRule(_Rule):
    items: Expression | None = None  # None: all items


class Exclude(_ItemsRule):
    """The items are in no list."""

    action: Literal["exclude"]


class IncludeOnly(_ItemsRule):
    """No other items are in a list."""

    action: Literal["include_only"]


class Pin(_ItemsRule):
    """The best of the items is at a slot."""

    action: Literal["pin"]
    slot: Slot


class Boost(_ItemsRule):
    """The items rank as if they were so many times as likely to be bought."""

    action: Literal["boost"]
    factor: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)]


class Bury(_ItemsRule):
    """The items come after all others."""

    action: Literal["bury"]


class Limit(_AnyItemsRule):
    """At most so many of the items share a value of the attribute."""

    action: Literal["limit"]
    attribute: str
    at_most: Annotated[int, Field(ge=1, le=100)]


class ForbidBought(_AnyItemsRule):
    """Those of the items that the user bought are not in the list."""

    action: Literal["forbid_bought"]


class AllowBought(_AnyItemsRule):
    """Those of the items that the user bought may be in the list."""

    action: Literal["allow_bought"]


Rule = Exclude | IncludeOnly | Pin | Boost | Bury | Limit | ForbidBought | AllowBought

ACTIONS: dict[str, type[_Rule]] = {
    kind.model_fields["action"].annotation.__args__[0]: kind  # type: ignore[union-attr]
    for kind in (Exclude, IncludeOnly, Pin, Boost, Bury, Limit, ForbidBought, AllowBought)
}


class Exploration(BaseModel):
    """Random items from further below take some slots of the lists of these scenes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    share: Annotated[float, Field(gt=0, le=0.5)]  # of the slots; above 0.5 a list would show mostly random items
    depth: Annotated[int, Field(ge=2, le=100)] = 50
    scenes: Annotated[tuple[Scene, ...], Field(strict=False, min_length=1)] = ("for_you",)


class Rules(BaseModel):
    """The content of a file of rules. The order counts: the first of two pins to one slot wins."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rules: tuple[Annotated[Rule, Field(discriminator="action")], ...] = ()
    exploration: Exploration | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the file changes no list."""
        return not self.rules and self.exploration is None

    @property
    def text(self) -> str:
        """The rules as JSON, the same for files that differ in comments and spaces only."""
        return orjson.dumps(self.model_dump(exclude_none=True), option=orjson.OPT_SORT_KEYS).decode()

    @property
    def version(self) -> str:
        """The SHA-256 of the text; empty if there are no rules and no exploration."""
        return "" if self.is_empty else hashlib.sha256(self.text.encode()).hexdigest()


KEYS = Rules.model_fields


def parse(content: Any, where: str) -> Rules:
    """The rules in the content of a file. where: the file, for errors. Raises RulesError with the first few faults."""
    if not isinstance(content, dict):
        allowed = "the keys rules, a list of rules, and exploration"
        raise RulesError(f"{where}: got {_shown(content)}; allowed: {allowed}; fix the file")
    listed = content.get("rules")
    if isinstance(listed, list):
        if len(listed) > MAX_RULES:
            raise RulesError(f"{where}: got {len(listed)} rules; allowed: up to {MAX_RULES}; merge some of them")
        content = {**content, "rules": tuple(listed)}
    try:
        rules = Rules.model_validate(content)
    except ValidationError as error:
        faults = [_fault(fault, listed) for fault in error.errors(include_url=False)[:5]]
        raise RulesError(f"{where}: {'; '.join(faults)}; fix the file") from error
    names = [rule.name for rule in rules.rules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RulesError(f"{where}: got two rules named {', '.join(twice)}; allowed: each name once; rename one")
    return rules


def _fault(fault: Any, listed: object) -> str:
    """One fault: the rule by its name, the key, what was got and what is allowed."""
    path = [step for step in fault["loc"] if step != "rules" and step not in ACTIONS]
    given, place = listed, ""
    if path and isinstance(path[0], int) and isinstance(listed, list):
        given = listed[path[0]]
        named = isinstance(given, dict) and isinstance(given.get("name"), str)
        place = f"rule {given['name'] if named else path[0] + 1}"
    key = ".".join(str(step) for step in path if isinstance(step, str))
    where = " ".join(filter(None, (place, key))) or "rules"
    got = "nothing" if fault["type"] == "missing" else _shown(fault["input"])
    return f"{where}: got {got}; allowed: {_allowed(fault, given, key)}"


def _allowed(fault: Any, given: object, key: str) -> str:
    if fault["type"] in ("union_tag_not_found", "union_tag_invalid"):
        action = given.get("action") if isinstance(given, dict) else None
        return f"action with one of {', '.join(ACTIONS)}{_nearest(str(action), list(ACTIONS))}"
    if fault["type"] == "extra_forbidden":
        action = given.get("action") if isinstance(given, dict) else None
        known = list(ACTIONS[action].model_fields) if isinstance(action, str) and action in ACTIONS else list(KEYS)
        if len(fault["loc"]) > 1 and fault["loc"][0] == "exploration":
            known = list(Exploration.model_fields)
        return f"only the keys {', '.join(known)}{_nearest(key.rpartition('.')[2], known)}"
    if fault["type"] in ("tuple_type", "model_type", "model_attributes_type"):
        return "a list" if fault["type"] == "tuple_type" else "keys, each with a value"
    return str(fault["msg"]).removeprefix("Input should be ").lower()


def _nearest(got: str, known: list[str]) -> str:
    found = get_close_matches(got, known, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, list | dict) else f"a {type(value).__name__} of {len(value)}"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
