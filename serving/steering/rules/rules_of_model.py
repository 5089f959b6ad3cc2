"""The rules in the order of a model's items: what of them can be computed before a request is."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.events.ids import IdMap
from serving.steering.catalogue.attributes import NO_TEXTS, AttributeTable, Value
from serving.steering.catalogue.conditions import only
from serving.steering.catalogue.served_items import ServedItems
from serving.steering.rules.active_rules import ActiveRule, Steering
from serving.steering.rules.combinations import Combinations, ItemTable, codes_of
from serving.steering.rules.exploration import Draw
from serving.steering.rules.expressions import (
    REQUEST,
    Condition,
    compiler,
    mentioned,
    request_values,
    row_values,
    uses_user,
    variables,
)
from serving.steering.rules.rule_types import Limit, Rule, Rules, RulesError

# evaluations of conditions, one for each combination of the values of items that a condition uses
MAX_LOADED = 500_000  # of all rules, when they are loaded
MAX_REQUESTED = 5_000  # of all rules whose `items` use attributes of the user, in one request
MAX_MASK_BYTES = 16 * 2**20  # of all cached masks: one byte for each item, rule and combination of user values
NO_ROWS = AttributeTable(NO_TEXTS, {})
NO_CONTEXT: Mapping[str, Value] = MappingProxyType({})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Compiled:
    """A rule with what is known before a request. `matching` is None where the items depend on the user."""

    rule: Rule
    when: Condition | None
    when_attributes: tuple[str, ...]  # of the user
    evaluate: Callable[[Mapping[str, Any]], NDArray[np.bool_]]  # the variables of the user -> the items
    items_attributes: tuple[str, ...]  # of the user
    matching: NDArray[np.bool_] | None
    codes: NDArray[np.int64] | None  # of a limit: equal where the attribute is, -1 where it has no value


class BoundRules:
    """Rules for the items of one model and catalogue. Made once for each such pair and rules; only read then."""

    def __init__(self, rules: Rules, items: ServedItems | None, ids: IdMap) -> None:
        """items: of the model, with their attributes; None without a catalogue. ids: of the model's items.

        Raises RulesError if an expression names an attribute that the catalogue lacks, has a wrong type, or would take
        too long.
        """
        self.version = rules.version  # computed once: each answer is stored with it
        self._exploration = rules.exploration
        self._users = items.catalogue.users if items else NO_ROWS
        rows = items.rows if items else np.full(len(ids), -1, dtype=np.int32)
        known = ItemTable(items.catalogue.items if items else NO_ROWS, rows, ids)
        self._compiled = tuple(_compiled_rules(rules, known, self._users))
        n_masks = max(1, MAX_MASK_BYTES // max(1, len(ids)))
        # no reference to self: a cycle that gc.freeze() has seen is never freed
        self._matching = lru_cache(n_masks)(partial(_matching_of_user, self._compiled))

    def steering(
        self,
        user_id: str,
        scene: str,
        n: int,
        clock: int,
        context: Mapping[str, Value] = NO_CONTEXT,
        request_id: str = "",
    ) -> Steering | None:
        """What the rules ask of the list for a request; None if no rule is active. clock: in microseconds, UTC.

        context: that of the request. request_id: the seed of the exploration; without it there is none.
        """
        draw = None
        if self._exploration and request_id and scene in self._exploration.scenes:
            draw = Draw(self._exploration.share, self._exploration.depth, request_id)
        active = self._active(user_id, scene, n, clock, context) if self._compiled else ()
        return Steering(active, n, draw) if active or draw else None

    def _active(
        self, user_id: str, scene: str, n: int, clock: int, context: Mapping[str, Value]
    ) -> tuple[ActiveRule, ...]:
        """The rules whose `when` holds."""
        row, request = self._users.row(user_id), request_values(scene, n, clock, context)
        active = []
        for place, each in enumerate(self._compiled):
            if each.when is not None:
                user = row_values("user", self._users, row, user_id, each.when_attributes)
                if not each.when.holds({**request, **user}):
                    continue
            matching = each.matching
            if matching is None:
                user = row_values("user", self._users, row, user_id, each.items_attributes)
                matching = self._matching(place, tuple(sorted((k, v) for k, v in user.items() if k != "user.known")))
            active.append(ActiveRule(each.rule, matching, each.codes))
        return tuple(active)


def _compiled_rules(rules: Rules, known: ItemTable, users: AttributeTable) -> list[_Compiled]:
    if not rules.rules:
        return []
    of_items, of_user = variables("item", known.table.kinds), variables("user", users.kinds)
    compile_when, compile_items = compiler({**of_user, **REQUEST}), compiler({**of_items, **of_user})
    n_evaluated, found = Counter[bool](), []
    for rule in rules.rules:
        when = _compile(rule, "when", rule.when, compile_when)
        items = _compile(rule, "items", rule.items, compile_items)
        of_request, combinations = uses_user(rule.items or ""), known.combinations(rule.items or "")
        n_evaluated[of_request] += len(combinations)
        _check_evaluations(rule, len(combinations), n_evaluated[of_request], of_request)
        evaluate = partial(_matching, rule.name, items, combinations, known)
        attributes = mentioned(rule.when or "", users.columns), mentioned(rule.items or "", users.columns)
        matching = None if of_request else evaluate({})
        found.append(_Compiled(rule, when, attributes[0], evaluate, attributes[1], matching, _codes(rule, known)))
    return found


def _check_evaluations(rule: Rule, n_combinations: int, n_evaluated: int, of_request: bool) -> None:
    """Raises RulesError if the rules up to this one need too many evaluations."""
    allowed, when = (MAX_REQUESTED, "in a request") if of_request else (MAX_LOADED, "when it is loaded")
    if n_evaluated > allowed:
        raise RulesError(
            f"rule {rule.name} items: got {n_combinations} combinations of the values that it uses, {n_evaluated} with "
            f"the rules before it; allowed: up to {allowed}, because all are evaluated {when}; use attributes with "
            f"fewer values{', or ask for attributes of the user in `when`' if of_request else ''}"
        )


def _compile(rule: Rule, key: str, text: str | None, compile_: Callable[[str], Condition]) -> Condition | None:
    if text is None:
        return None
    try:
        return compile_(text)
    except RulesError as error:
        raise RulesError(f"rule {rule.name} {key}: {error}; fix the rule") from error


def _matching(
    name: str, items: Condition | None, combinations: Combinations, known: ItemTable, user: Mapping[str, Any]
) -> NDArray[np.bool_]:
    """(n_items,) the items of a rule, without a condition all; read-only, because requests share it."""
    if items is None:
        matching, n_unknown = np.ones(len(known.rows), np.bool_), 0
    else:
        matching, n_unknown = known.matching(items, combinations, user)
    if n_unknown and not user:
        log.warning(
            "rule %s: %d of %d items lack a value that it needs and do not match", name, n_unknown, len(matching)
        )
    matching.flags.writeable = False
    return matching


def _matching_of_user(
    compiled: tuple[_Compiled, ...], place: int, user: tuple[tuple[str, Any], ...]
) -> NDArray[np.bool_]:
    values = dict(user)
    present = [key.removeprefix("user.") for key in values if key != "user.id"]
    return compiled[place].evaluate({**values, "user.known": present})


def _codes(rule: Rule, known: ItemTable) -> NDArray[np.int64] | None:
    if not isinstance(rule, Limit):
        return None
    if rule.attribute not in known.table.columns:
        allowed = (
            only(rule.attribute, known.table.kinds) if known.table.columns else "no attribute: no catalogue is loaded"
        )
        raise RulesError(f"rule {rule.name} attribute: got {rule.attribute!r}; allowed: {allowed}; fix the rule")
    return codes_of(known.table.columns[rule.attribute], known.rows)
