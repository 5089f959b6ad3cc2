"""Chooses the items of a list by factors, buried items and limits. Pinned items are chosen first."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.steering.rules.model_ranking import Mask, ModelRanking, RankedItem


class Chosen(NamedTuple):
    """An item of the list: score and probability are the model's. rules: the names of those that placed or moved it.

    propensity: how likely exploration shows this item in this slot; None where it changes nothing.
    """

    column: int
    score: float
    probability: float | None
    rules: tuple[str, ...]
    propensity: float | None = None


class LimitCount:
    """At most so many items of each code in one list. codes: (n_items,), -1: not limited."""

    def __init__(self, name: str, at_most: int, codes: NDArray[np.int64]) -> None:
        self.name, self._at_most, self._codes = name, at_most, codes
        self._counts: Counter[int] = Counter()

    def is_full(self, column: int) -> bool:
        """Whether the list has no place for an item."""
        code = int(self._codes[column])
        return code >= 0 and self._counts[code] >= self._at_most

    def add(self, column: int) -> None:
        """Counts an item of the list."""
        if (code := int(self._codes[column])) >= 0:
            self._counts[code] += 1

    def full(self) -> Mask | None:
        """(n_items,) the items for which the list has no place; None for none."""
        codes = [code for code, count in self._counts.items() if count >= self._at_most]
        return np.isin(self._codes, codes) if codes else None


@dataclass(eq=False)
class Choice:
    """The items that were chosen so far, apart from the pinned ones."""

    left: Mask  # eligible and not chosen
    ranked: ModelRanking
    limits: list[LimitCount]
    factors: NDArray[np.float64]
    buried: Mask
    items: list[RankedItem] = field(default_factory=list)

    def best(self, items: Mask) -> RankedItem | None:
        """Takes the first of these items that is left and breaks no limit."""
        found = next(self._in_order(self._open(items)), None)
        if found is not None:
            self._take(found)
        return found

    def fill(self, n: int) -> None:
        """Takes the n best items that are left by value times factor, buried ones last."""
        for tier in (~self.buried, self.buried):
            if len(self.items) >= n:
                break
            mask = self._open(tier)
            factors = np.unique(self.factors[mask]).tolist()
            groups = {factor: self._in_order(mask & (self.factors == factor)) for factor in factors}
            heads = {factor: next(group, None) for factor, group in groups.items()}
            while len(self.items) < n and (found := _first(heads)) is not None:
                factor, item = found
                if not self._is_full(item):
                    self._take(item)
                    self.items.append(item)
                heads[factor] = next(groups[factor], None)

    def kept_out(self) -> dict[str, int]:
        """Limit -> number of items that are left and for which the list has no place by it."""
        full = {limit.name: limit.full() for limit in self.limits}
        return {name: 0 if mask is None else int(np.count_nonzero(self.left & mask)) for name, mask in full.items()}

    def _in_order(self, items: Mask) -> Iterator[RankedItem]:
        """The model's order of some items; those that break a limit may be among them. Ranks as far as it is asked."""
        yield from self.ranked.among(items)
        items = items.copy()
        while page := self.ranked.below(self._open(items)):
            yield from page
            items[[item.column for item in page]] = False

    def _open(self, items: Mask) -> Mask:
        """Those of some items that are left and break no limit."""
        mask = items & self.left
        for limit in self.limits:
            if (full := limit.full()) is not None:
                mask &= ~full
        return mask

    def _is_full(self, item: RankedItem) -> bool:
        return any(limit.is_full(item.column) for limit in self.limits)

    def _take(self, item: RankedItem) -> None:
        self.left[item.column] = False
        for limit in self.limits:
            limit.add(item.column)


def _first(heads: dict[float, RankedItem | None]) -> tuple[float, RankedItem] | None:
    """The item with the highest value times factor, with its factor; of equal ones that which the model prefers."""
    left = [(factor, item) for factor, item in heads.items() if item is not None]
    return min(left, key=lambda one: (-one[1].value * one[0], one[1].place, -one[1].score), default=None)
