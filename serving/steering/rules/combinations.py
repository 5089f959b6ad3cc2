"""The items that match a condition, which is evaluated once for each combination of the values that it uses."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.events.ids import IdMap
from serving.steering.catalogue.attributes import AttributeTable, Column
from serving.steering.rules.expressions import Condition, mentioned, named_values

TEXT = r"""(?:"[^"\\\n]*"|'[^'\\\n]*')"""
# a comparison of item.id with texts, between operators that bind less tightly: other ids are all alike to it
ID_TEST = re.compile(
    rf"(?P<before>^|\(|&&|\|\||\?|:)\s*item\.id\s*(?:[!=]=\s*{TEXT}|in\s*\[\s*{TEXT}(?:\s*,\s*{TEXT})*\s*\])"
    r"\s*(?=$|\)|&&|\|\||\?|:)"
)
ID = re.compile(r"\bitem\s*\.\s*id\b")


@dataclass(frozen=True, eq=False)
class Combinations:
    """The distinct combinations of the values that a condition uses. names: the attributes of items that it may use."""

    names: tuple[str, ...]
    of_items: NDArray[np.int32]  # (n_items,) the number of each item's combination
    items: NDArray[np.int32]  # (n_combinations,) an item of each

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, eq=False)
class ItemTable:
    """The items of a model with their attributes. rows: item column -> row of the catalogue, -1 if it lacks it."""

    table: AttributeTable
    rows: NDArray[np.int32]
    ids: IdMap

    def combinations(self, text: str) -> Combinations:
        """Those of an expression."""
        names = tuple(name for name in mentioned(text, self.table.columns) if name != "id")
        groups = self._id_groups(text)
        for name in names:
            codes = codes_of(self.table.columns[name], self.rows) + 1
            groups = np.unique(groups * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)[1]
        _, items, of_items = np.unique(groups, return_index=True, return_inverse=True)
        return Combinations(names, of_items.astype(np.int32), items.astype(np.int32))

    def matching(
        self, condition: Condition, combinations: Combinations, given: Mapping[str, Any]
    ) -> tuple[NDArray[np.bool_], int]:
        """(n_items,) the items for which a condition is true, and for how many it is neither true nor false.

        given: the variables of the user.
        """
        found = np.zeros(len(combinations), np.int8)
        columns = {name: self.table.columns[name] for name in combinations.names}
        for place, item in enumerate(combinations.items.tolist()):
            values = {name: column.value(int(self.rows[item])) for name, column in columns.items()}
            true = condition.holds({**given, **named_values("item", values), "item.id": str(self.ids.ids[item])})
            found[place] = -1 if true is None else true
        each = found[combinations.of_items]
        return np.asarray(each == 1), int((each == -1).sum())

    def _id_groups(self, text: str) -> NDArray[np.int64]:
        """(n_items,) different where an expression may tell the ids of items apart."""
        rest, tests = text, []
        while found := ID_TEST.search(rest):
            tests.append(found[0])
            rest = f"{rest[: found.start()]}{found['before']}true{rest[found.end() :]}"
        if ID.search(rest) or "//" in text:  # a comment may separate the words of a name
            return np.arange(len(self.ids))
        columns = self.ids.rows([id_[1:-1] for id_ in re.findall(TEXT, " ".join(tests))])
        groups = np.zeros(len(self.ids), np.int64)
        groups[columns[columns >= 0]] = columns[columns >= 0] + 1
        return groups


def codes_of(column: Column, rows: NDArray[np.int32]) -> NDArray[np.int64]:
    """(n,) whole numbers, equal where the values are; -1 where there is none."""
    values = column.take(rows)
    if column.kind != "number":
        return values.astype(np.int64)
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    codes[np.isnan(values)] = -1
    return codes
