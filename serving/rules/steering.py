"""Makes the list of one request by the rules that are active for it.

1. Eligibility: what exclude, include_only, forbid_bought and allow_bought leave of the candidates.
2. Pins: the best eligible item of each pin, unless it breaks a limit.
3. The other slots: by probability times factor, buried items last; an item that breaks a limit is passed over.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.rules.model import (
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

Mask = NDArray[np.bool_]
Effects = dict[str, dict[str, int]]  # name of a rule -> "lists" or "items" -> number


class ActiveRule(NamedTuple):
    """A rule whose `when` holds. items: (n_items,). codes: of a limit, equal where the attribute is, -1: no value."""

    rule: Rule
    items: Mask
    codes: NDArray[np.int64] | None


class RankedItem(NamedTuple):
    """An item of the model's list. value: how likely it is bought, or another number that falls along the list."""

    column: int
    score: float
    value: float


class Chosen(NamedTuple):
    """An item of the list, and the names of the rules that placed or moved it."""

    column: int
    score: float
    rules: tuple[str, ...]


# (eligible (n_items,), k) -> the model's k best of them, best first
Rank = Callable[[Mask, int], Sequence[RankedItem]]


@dataclass(frozen=True, eq=False)
class Steering:
    """The active rules, in the order of their file."""

    active: tuple[ActiveRule, ...]

    def bought(self, columns: NDArray[np.int32], allowed: bool, n_items: int) -> Mask:
        """(n_items,) which items may be in a list as far as the user bought them. The first rule of an item decides.

        columns: of the items that the user bought. allowed: whether they may be in the list without a rule.
        """
        allow, decided = np.full(len(columns), allowed), np.zeros(len(columns), np.bool_)
        for rule, items, _ in self.active:
            if isinstance(rule, AllowBought | ForbidBought):
                new = items[columns] & ~decided
                allow[new] = isinstance(rule, AllowBought)
                decided |= new
        mask = np.ones(n_items, np.bool_)
        mask[columns[~allow]] = False
        return mask

    def eligible(self, candidates: Mask) -> Mask:
        """(n_items,) the candidates that no rule excludes."""
        left = candidates.copy()
        for rule, items, _ in self.active:
            if isinstance(rule, Exclude):
                left &= ~items
            elif isinstance(rule, IncludeOnly):
                left &= items
        return left

    def choose(
        self, candidates: Mask, bought: NDArray[np.int32], n: int, depth: int, rank: Rank
    ) -> tuple[list[Chosen], Effects]:
        """The list, best first, and what each active rule did.

        It has n items, or fewer if no further eligible item can be added without breaking a limit. candidates:
        (n_items,) what may be in the list without rules of eligibility. bought: columns of the user's items. depth:
        items that the model ranks at once where a limit may pass over some.
        """
        eligible = self.eligible(candidates)
        limits = [
            _Limit(rule.name, rule.at_most, np.where(items, codes, -1))
            for rule, items, codes in self.active
            if isinstance(rule, Limit) and codes is not None
        ]
        choice = _Choice(eligible, n, depth, rank, limits, *self._order(len(eligible)))
        pinned = self._pin(choice, n)
        choice.fill(n - len(pinned))
        chosen = self._placed(choice, pinned)
        return chosen, self._effects(candidates, bought, chosen, choice)

    def _effects(
        self, candidates: Mask, bought: NDArray[np.int32], chosen: Sequence[Chosen], choice: "_Choice"
    ) -> Effects:
        """ "items" are those removed from the candidates, kept out by a full limit, bought, placed or moved."""
        placed = Counter(name for item in chosen for name in item.rules)
        full = {limit.name: int(np.count_nonzero(choice.left & ~limit.open())) for limit in choice.limits}
        found: Effects = {}
        for rule, items, _ in self.active:
            n_items = placed[rule.name] + full.get(rule.name, 0)
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

    def _pin(self, choice: "_Choice", n: int) -> dict[int, tuple[RankedItem, str]]:
        """Slot -> the item that is pinned there, and the name of the rule."""
        pinned: dict[int, tuple[RankedItem, str]] = {}
        for rule, items, _ in self.active:
            if isinstance(rule, Pin) and rule.slot <= n and rule.slot not in pinned and (item := choice.best(items)):
                pinned[rule.slot] = (item, rule.name)
        return pinned

    def _placed(self, choice: "_Choice", pinned: dict[int, tuple[RankedItem, str]]) -> list[Chosen]:
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
            names = (pin,) if pin else self._moved_by(item.column)
            found.append(Chosen(item.column, item.score, names))
        return found

    def _moved_by(self, column: int) -> tuple[str, ...]:
        """The rules that gave an item its place among the others: the first boost, and those that bury it."""
        boosts = [rule.name for rule, items, _ in self.active if isinstance(rule, Boost) and items[column]][:1]
        return (*boosts, *(rule.name for rule, items, _ in self.active if isinstance(rule, Bury) and items[column]))


class _Limit:
    """At most so many items of each code in one list."""

    def __init__(self, name: str, at_most: int, codes: NDArray[np.int64]) -> None:
        self.name, self.at_most, self.codes = name, at_most, codes
        self._counts: Counter[int] = Counter()

    def full(self, column: int) -> bool:
        code = int(self.codes[column])
        return code >= 0 and self._counts[code] >= self.at_most

    def add(self, column: int) -> None:
        if (code := int(self.codes[column])) >= 0:
            self._counts[code] += 1

    def open(self) -> Mask:
        """(n_items,) which items have a code that is not full."""
        full = [code for code, count in self._counts.items() if count >= self.at_most]
        return ~np.isin(self.codes, full) if full else np.ones(len(self.codes), np.bool_)


@dataclass(eq=False)
class _Choice:
    """The items that were chosen so far, apart from the pinned ones."""

    left: Mask  # eligible and not chosen
    n: int
    depth: int
    rank: Rank
    limits: list[_Limit]
    factors: NDArray[np.float64]
    buried: Mask
    items: list[RankedItem] = field(default_factory=list)

    def best(self, items: Mask) -> RankedItem | None:
        """Takes the first of these items that is left and breaks no limit."""
        found = self._best(self._open(items), 1)
        if not found:
            return None
        self._take(found[0])
        return found[0]

    def fill(self, n: int) -> None:
        """Takes the n best items that are left, buried ones last."""
        for tier in (~self.buried, self.buried):
            mask = self._open(tier)
            while len(self.items) < n and mask.any():
                missing = n - len(self.items)
                ranked = self._best(mask, max(missing, self.depth) if self.limits else missing)
                for item in ranked:
                    if len(self.items) < n and not any(limit.full(item.column) for limit in self.limits):
                        self._take(item)
                        self.items.append(item)
                seen = np.array([item.column for item in ranked], np.int64)
                tier = tier & self.left
                tier[seen] = False
                mask = self._open(tier) if len(ranked) else np.zeros_like(tier)

    def _open(self, items: Mask) -> Mask:
        mask = items & self.left
        for limit in self.limits:
            mask &= limit.open()
        return mask

    def _take(self, item: RankedItem) -> None:
        self.left[item.column] = False
        for limit in self.limits:
            limit.add(item.column)

    def _best(self, mask: Mask, k: int) -> list[RankedItem]:
        """The k best items of a mask by value times factor: the best k of each factor contain them."""
        groups = np.unique(self.factors[mask])
        if len(groups) <= 1:
            return list(self.rank(mask, k)) if len(groups) else []
        lists = [self.rank(mask & (self.factors == factor), k) for factor in groups]
        found = [(item, place) for ranked in lists for place, item in enumerate(ranked)]
        found.sort(key=lambda each: (-each[0].value * self.factors[each[0].column], each[1], each[0].column))
        return [item for item, _ in found[:k]]
