"""The rules in the order of a model's items: what of them can be computed before a request is."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.events.ids import IdMap
from serving.steering.catalogue.attributes import NO_TEXTS, AttributeTable
from serving.steering.catalogue.conditions import only
from serving.steering.catalogue.served_items import ServedItems
from serving.steering.rules.expressions import (
    REQUEST,
    ItemTable,
    codes_of,
    compiler,
    holds,
    mentioned,
    request_values,
    row_values,
    uses_user,
    variables,
)
from serving.steering.rules.model import Limit, Rule, Rules, RulesError
from serving.steering.rules.steering import ActiveRule, Steering

MAX_MASK_BYTES = 16 * 2**20  # of all cached masks: one byte for each item, rule and combination of user values
NO_ROWS = AttributeTable(NO_TEXTS, {})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Compiled:
    """A rule with what is known before a request. `matching` is None where the items depend on the user."""

    rule: Rule
    when: Any | None
    when_attributes: tuple[str, ...]  # of the user
    items: Any | None
    items_attributes: tuple[str, ...]  # of the user
    matching: NDArray[np.bool_] | None
    codes: NDArray[np.int64] | None  # of a limit: equal where the attribute is, -1 where it has no value


class BoundRules:
    """Rules for the items of one model and catalogue. Made once for each such pair and rules; only read then."""

    def __init__(self, rules: Rules, items: ServedItems | None, ids: IdMap) -> None:
        """items: of the model, with their attributes; None without a catalogue. ids: of the model's items.

        Raises RulesError if an expression names an attribute that the catalogue lacks, or has a wrong type.
        """
        self.rules, self._users = rules, items.catalogue.users if items else NO_ROWS
        rows = items.rows if items else np.full(len(ids), -1, dtype=np.int32)
        known = ItemTable(items.catalogue.items if items else NO_ROWS, rows, ids.ids)
        self._compiled = tuple(_compiled_rules(rules, known, self._users))
        n_masks = max(1, MAX_MASK_BYTES // max(1, len(ids)))
        # no reference to self: a cycle that gc.freeze() has seen is never freed
        self._matching = lru_cache(n_masks)(partial(_matching_of_user, self._compiled, known))

    @property
    def version(self) -> str:
        """The SHA-256 of the rules; empty without rules."""
        return self.rules.version

    def steering(self, user_id: str, scene: str, n: int, clock: int) -> Steering | None:
        """What the rules ask of the list for a request; None if no rule is active. clock: in microseconds, UTC."""
        if not self._compiled:
            return None
        row, request = self._users.row(user_id), request_values(scene, n, clock)
        active = []
        for place, each in enumerate(self._compiled):
            if each.when is not None:
                user = row_values("user", self._users, row, user_id, each.when_attributes)
                if not holds(each.when, {**request, **user}):
                    continue
            matching = each.matching
            if matching is None:
                user = row_values("user", self._users, row, user_id, each.items_attributes)
                matching = self._matching(place, tuple(sorted((k, v) for k, v in user.items() if k != "user.known")))
            active.append(ActiveRule(each.rule, matching, each.codes))
        return Steering(tuple(active), n) if active else None


def _compiled_rules(rules: Rules, known: ItemTable, users: AttributeTable) -> list[_Compiled]:
    if not rules.rules:
        return []
    of_items, of_user = variables("item", known.table.kinds), variables("user", users.kinds)
    compile_when, compile_items = compiler({**of_user, **REQUEST}), compiler({**of_items, **of_user})
    found = []
    for rule in rules.rules:
        when = _compile(rule, "when", rule.when, compile_when)
        items = _compile(rule, "items", rule.items, compile_items)
        matching: NDArray[np.bool_] | None = np.ones(len(known.rows), np.bool_)
        if rule.items is not None:
            matching = None if uses_user(rule.items) else _matching(rule.name, items, rule.items, known, {})
        found.append(
            _Compiled(
                *(rule, when, mentioned(rule.when or "", users.columns)),
                *(items, mentioned(rule.items or "", users.columns)),
                *(matching, _codes(rule, known)),
            )
        )
    return found


def _compile(rule: Rule, key: str, text: str | None, compile_: Callable[[str], Any]) -> Any | None:
    if text is None:
        return None
    try:
        return compile_(text)
    except RulesError as error:
        raise RulesError(f"rule {rule.name} {key}: {error}; fix the rule") from error


def _matching(name: str, items: Any, text: str, known: ItemTable, user: Mapping[str, Any]) -> NDArray[np.bool_]:
    """(n_items,) the items of a rule; read-only, because requests share it."""
    matching, n_unknown = known.matching(items, text, user)
    if n_unknown and not user:
        log.warning(
            "rule %s: %d of %d items lack a value that it needs and do not match", name, n_unknown, len(matching)
        )
    matching.flags.writeable = False
    return matching


def _matching_of_user(
    compiled: tuple[_Compiled, ...], known: ItemTable, place: int, user: tuple[tuple[str, Any], ...]
) -> NDArray[np.bool_]:
    each = compiled[place]
    values = dict(user)
    present = [key.removeprefix("user.") for key in values if key != "user.id"]
    return _matching(each.rule.name, each.items, each.rule.items or "", known, {**values, "user.known": present})


def _codes(rule: Rule, known: ItemTable) -> NDArray[np.int64] | None:
    if not isinstance(rule, Limit):
        return None
    if rule.attribute not in known.table.columns:
        allowed = (
            only(rule.attribute, known.table.kinds) if known.table.columns else "no attribute: no catalogue is loaded"
        )
        raise RulesError(f"rule {rule.name} attribute: got {rule.attribute!r}; allowed: {allowed}; fix the rule")
    return codes_of(known.table.columns[rule.attribute], known.rows)
