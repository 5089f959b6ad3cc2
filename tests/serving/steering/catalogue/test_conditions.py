"""Conditions on attributes: what they let through, and the errors of those that cannot be meant."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.steering.catalogue.attributes import NO_TEXTS, AttributeTable, Column, Texts
from serving.steering.catalogue.conditions import meet, read_conditions
from serving.web.validation import InvalidRequestError

Rows = list[dict[str, Any]]
COLOURS = ["", "blue", "red", "\u00e9cru", "\U0001f534"]  # one with a code point beyond 16 bits


def table_of(rows: Rows) -> AttributeTable:
    """A table with the attributes colour, price and stocked; None is missing."""
    texts = sorted({row["colour"] for row in rows if row["colour"] is not None})
    places = {text: place for place, text in enumerate(texts)}
    columns = {
        "colour": Column(
            "text", np.array([places.get(r["colour"], -1) for r in rows], np.int32), Texts.from_sorted(texts)
        ),
        "price": Column(
            "number", np.array([np.nan if r["price"] is None else r["price"] for r in rows], np.float64), NO_TEXTS
        ),
        "stocked": Column(
            "boolean", np.array([-1 if r["stocked"] is None else r["stocked"] for r in rows], np.int8), NO_TEXTS
        ),
    }
    return AttributeTable(Texts.from_sorted([f"{row:04}" for row in range(len(rows))]), columns)


def meets(row: dict[str, Any], filters: dict[str, Any]) -> bool:
    """The definition, value by value."""
    for name, wanted in filters.items():
        value = row[name]
        if value is None:
            return False
        if not isinstance(wanted, dict):
            if value not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
            continue
        excluded = wanted.get("not", [])
        if value in (excluded if isinstance(excluded, list) else [excluded]):
            return False
        if not wanted.get("min", -math.inf) <= value <= wanted.get("max", math.inf) if name == "price" else False:
            return False
    return True


prices = st.integers(-3, 3).map(float) | st.just(0.5)
one_of = {"colour": st.sampled_from([*COLOURS, "none has it"]), "price": prices, "stocked": st.booleans()}
rows = st.fixed_dictionaries(
    {"colour": st.none() | st.sampled_from(COLOURS), "price": st.none() | prices, "stocked": st.none() | st.booleans()}
)


def condition(name: str) -> st.SearchStrategy[Any]:
    values = one_of[name] | st.lists(one_of[name], min_size=1, max_size=3)
    others = {"not": values}
    if name == "price":
        ranges = st.tuples(prices, prices).map(lambda pair: {"min": min(pair), "max": max(pair)})
        return values | ranges | st.fixed_dictionaries({}, optional={"min": prices, **others}).filter(bool)
    return values | st.fixed_dictionaries(others)


filters = st.fixed_dictionaries({}, optional={name: condition(name) for name in one_of})


@given(st.lists(rows, max_size=12), filters)
def test_the_mask_is_that_of_the_definition(rows: Rows, filters: dict[str, Any]) -> None:
    table = table_of(rows)
    conditions = read_conditions(filters, table.kinds, "filters")
    every = np.array([*range(len(rows)), -1], np.int32)
    assert meet(conditions, table, every).tolist() == [*(meets(row, filters) for row in rows), False]


@given(st.lists(rows, min_size=1, max_size=12), filters)
def test_one_row_meets_what_it_meets_among_all(rows: Rows, filters: dict[str, Any]) -> None:
    """As a rule asks for one user."""
    table = table_of(rows)
    conditions = read_conditions(filters, table.kinds, "filters")
    alone = [bool(meet(conditions, table, np.array([table.row(id_)], np.int32))[0]) for id_ in table.ids]
    assert alone == meet(conditions, table, np.arange(len(rows), dtype=np.int32)).tolist()
    assert not meet(conditions, table, np.array([table.row("no such id")], np.int32))[0]


def test_equal_filters_are_equal_conditions() -> None:
    kinds = table_of([]).kinds
    one = read_conditions({"colour": ["red", "blue", "red"], "price": {"min": 1, "max": 2}}, kinds, "filters")
    other = read_conditions({"price": {"max": 2.0, "min": 1.0}, "colour": ["blue", "red"]}, kinds, "filters")
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("filters", "reported"),
    [
        ({"color": "red"}, "filters.color: got 'red'; allowed: only colour, price, stocked; did you mean colour?"),
        ({"colour": 5}, 'filters.colour: got 5; allowed: a text, a list of 1 to 1000 texts, or {"not": ...}'),
        ({"colour": None}, "filters.colour: got null; allowed: a text"),
        ({"colour": []}, "filters.colour: got a list of 0; allowed: a text, a list of 1 to 1000 texts"),
        ({"colour": ["red", 5]}, "filters.colour[1]: got 5; allowed: a text"),
        ({"colour": {}}, "filters.colour: got an object; allowed: a text"),
        ({"colour": {"min": 5}}, "filters.colour.min: got 5; allowed: only not, because colour is a text"),
        ({"colour": {"not": 5}}, "filters.colour.not: got 5; allowed: a text, or a list of 1 to 1000 of them"),
        ({"colour": {"not": [["red"]]}}, "filters.colour.not[0]: got a list of 1; allowed: a text"),
        ({"price": "5"}, "filters.price: got '5'; allowed: a number"),
        ({"price": True}, "filters.price: got true; allowed: a number"),
        ({"price": {"min": "5"}}, "filters.price.min: got '5'; allowed: a number"),
        ({"price": {"min": math.nan}}, "filters.price.min: got nan; allowed: a number"),
        ({"price": {"max": 10**400}}, "filters.price.max: got a number of 1329 bits; allowed: a number"),
        ({"price": {"min": 5, "max": 4}}, "filters.price: got 'min 5, max 4'; allowed: a min that is not above max"),
        ({"price": {"mni": 5}}, "filters.price.mni: got 5; allowed: only min, max, not, because price is a number"),
        ({"stocked": 1}, 'filters.stocked: got 1; allowed: true, false, or {"not": ...}'),
        ({"stocked": "true"}, "filters.stocked: got 'true'; allowed: true, false"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_an_error(filters: dict[str, Any], reported: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        read_conditions(filters, table_of([]).kinds, "filters")
    assert error.value.status == 422
    assert reported in str(error.value)
    assert error.value.details[0]["field"].startswith("filters.")


def test_many_faults_are_reported_together_up_to_ten() -> None:
    with pytest.raises(InvalidRequestError) as error:
        read_conditions({"price": "x", "stocked": 2}, table_of([]).kinds, "filters")
    assert [fault["field"] for fault in error.value.details] == ["filters.price", "filters.stocked"]
    with pytest.raises(InvalidRequestError) as error:
        read_conditions({f"x{n}": 1 for n in range(50)}, table_of([]).kinds, "filters")
    assert len(error.value.details) == 10
