"""What the rules ask of one list.

1. Eligibility: what exclude, include_only, forbid_bought and allow_bought leave of the items. The model ranks these.
2. Order: pins, factors, buried items and limits (item_choice.py), if a rule has such an action.
3. Exploration (exploration.py), if the file switches it on.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.steering.rules.exploration import Draw
from serving.steering.rules.item_choice import Choice, Chosen, LimitCount
from serving.steering.rules.model_ranking import Mask, ModelRanking, RankedItem
from serving.steering.rules.rule_types import (
    AllowBought,
    Boost,
    Bury,
    Exclude,
    ForbidBought,
    IncludeOnly,
    Limit,
    Pin,
    Rule,
)

Effects = dict[str, dict[str, int]]  # name of a rule -> "lists" or "items" -> number


class ActiveRule(NamedTuple):
    """A rule whose `when` holds. items: (n_items,). codes: of a limit, equal where the attribute is, -1: no value."""

    rule: Rule
    items: Mask
    codes: NDArray[np.int64] | None


class Steered(NamedTuple):
    """The items of a list, best first, and for each limit how many eligible items it kept out of the list."""

    items: list[Chosen]
    kept_out: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Steering:
    """The active rules, in the order of their file. n: items of the list; a pin to a slot beyond it has no effect.

    draw: the exploration of the list; None without it.
    """

    active: tuple[ActiveRule, ...]
    n: int
    draw: Draw | None = None

    @cached_property
    def orders(self) -> bool:
        """Whether a rule changes which of the eligible items are in the list, or their order."""
        return any(isinstance(each.rule, Pin | Boost | Bury | Limit) for each in self.active)

    def allowed(self, bought: NDArray[np.int32], default: bool) -> Mask:
        """(n,) which of these items, that the user bought, may be in the list. The first rule of an item decides.

        default: whether they may be in it without a rule.
        """
        allow, decided = np.full(len(bought), default), np.zeros(len(bought), np.bool_)
        for rule, items, _ in self.active:
            if isinstance(rule, AllowBought | ForbidBought):
                new = items[bought] & ~decided
                allow[new] = isinstance(rule, AllowBought)
                decided |= new
        return allow

    def eligible(self, candidates: Mask | None, n_items: int) -> Mask | None:
        """(n_items,) the candidates that exclude and include_only leave; None for all, on both sides."""
        left = candidates
        for rule, items, _ in self.active:
            if isinstance(rule, Exclude | IncludeOnly):
                left = np.ones(n_items, np.bool_) if left is None else left.copy() if left is candidates else left
                left &= items if isinstance(rule, IncludeOnly) else ~items
        return left

    def choose(self, eligible: Mask, k: int, ranked: ModelRanking) -> Steered:
        """The list of k items; fewer if no further eligible item can be added without breaking a limit.

        eligible: (n_items,). ranked: of these items. Without exploration the first n items are the list of n items.
        """
        depth = max(k, min(self.draw.depth, ranked.length)) if self.draw else k
        if not self.orders:
            listed = [_chosen(item, ()) for item in ranked.first(depth)]
            return Steered(self._explored(listed[:k], listed[k:], ()), {})
        limits = [
            LimitCount(rule.name, rule.at_most, np.where(items, codes, -1))
            for rule, items, codes in self.active
            if isinstance(rule, Limit) and codes is not None
        ]
        choice = Choice(eligible.copy(), ranked, limits, *self._order(len(eligible)))
        pinned = self._pin(choice)
        choice.fill(k - len(pinned))
        items, kept_out, n_chosen = self._placed(choice, pinned), choice.kept_out(), len(choice.items)
        # these obey all limits together with the list, so any of them may take any of its slots
        choice.fill(depth - len(pinned))
        further = [item for item in choice.items[n_chosen:] if not choice.buried[item.column]]
        drawable = [_chosen(item, self._moved_by(item.column)) for item in further]
        return Steered(self._explored([_chosen(*each) for each in items], drawable, pinned), kept_out)

    def _explored(self, items: list[Chosen], further: list[Chosen], pinned: Collection[int]) -> list[Chosen]:
        return self.draw.explored(items, further, pinned) if self.draw else items

    def effects(self, candidates: Mask, bought: NDArray[np.int32], steered: Steered) -> Effects:
        """What each rule did: "items" are those removed from the candidates, kept out, bought, placed or moved.

        candidates: (n_items,) what may be in the list without the rules. bought: item columns, each once.
        """
        found: Effects = {}
        for rule, items, _ in self.active:
            n_items = sum(rule.name in item.rules for item in steered.items) + steered.kept_out.get(rule.name, 0)
            if isinstance(rule, Exclude | IncludeOnly):
                n_items = int(np.count_nonzero(candidates & (items if isinstance(rule, Exclude) else ~items)))
            elif isinstance(rule, AllowBought | ForbidBought):
                n_items = int(np.count_nonzero(items[bought]))
            found[rule.name] = {"lists": 1, "items": n_items}
        return found

    def _order(self, n_items: int) -> tuple[NDArray[np.float64], Mask]:
        """(n_items,) the factor of each item, of the first rule that boosts it; and which items are buried."""
        factors, buried = np.ones(n_items), np.zeros(n_items, np.bool_)
        for rule, items, _ in reversed(self.active):
            if isinstance(rule, Boost):
                factors[items] = rule.factor
            elif isinstance(rule, Bury):
                buried |= items
        return factors, buried

    def _pin(self, choice: Choice) -> dict[int, tuple[RankedItem, str]]:
        """Slot -> the item that is pinned there, and the name of the rule."""
        pinned: dict[int, tuple[RankedItem, str]] = {}
        for rule, items, _ in self.active:
            if not isinstance(rule, Pin) or rule.slot > self.n or rule.slot in pinned:
                continue
            if (item := choice.best(items)) is not None:
                pinned[rule.slot] = (item, rule.name)
        return pinned

    def _placed(
        self, choice: Choice, pinned: dict[int, tuple[RankedItem, str]]
    ) -> list[tuple[RankedItem, tuple[str, ...]]]:
        """The list with the pinned items at their slots; in a list that is too short they are at its end."""
        length = len(pinned) + len(choice.items)
        others = iter(choice.items)
        late = iter([slot for slot in sorted(pinned) if slot > length])
        found = []
        for slot in range(1, length + 1):
            item, pin = pinned.get(slot, (None, ""))
            if item is None:
                item = next(others, None)
            if item is None:
                item, pin = pinned[next(late)]
            found.append((item, (pin,) if pin else self._moved_by(item.column)))
        return found

    def _moved_by(self, column: int) -> tuple[str, ...]:
        """The rules that gave an item its place among the others: the first boost, and those that bury it."""
        boosts = [rule.name for rule, items, _ in self.active if isinstance(rule, Boost) and items[column]][:1]
        return (*boosts, *(rule.name for rule, items, _ in self.active if isinstance(rule, Bury) and items[column]))


def _chosen(item: RankedItem, rules: tuple[str, ...]) -> Chosen:
    return Chosen(item.column, item.score, item.probability, rules)
