"""Conditions on items are evaluated once for each combination of values, and never too often."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from recommenders.events.ids import IdMap
from serving.steering.catalogue.attributes import NO_TEXTS, AttributeTable, Column, Texts
from serving.steering.rules import rules_of_model
from serving.steering.rules.combinations import ItemTable
from serving.steering.rules.expressions import compiler, mentioned, named_values, variables
from serving.steering.rules.rule_types import Rules, RulesError, parse
from serving.steering.rules.rules_of_model import BoundRules

IDS = IdMap.from_ids(["1", "10", "2", "3", "9"])
PRICES = Column("number", np.array([1.0, 2.0, 2.0, np.nan, 9.0]), NO_TEXTS)
COLOURS = Column("text", np.array([0, 1, 0, -1, 0], np.int32), Texts.from_sorted(["blue", "red"]))
TABLE = AttributeTable(Texts.from_sorted(IDS.ids.tolist()), {"colour": COLOURS, "price": PRICES})
ITEMS = ItemTable(TABLE, np.array([0, 1, 2, 3, 4], np.int32), IDS)
USER = {"user.id": "9", "user.known": ["segment"], "user.segment": "red"}


@pytest.mark.parametrize(
    ("text", "n_combinations"),
    [
        ("true", 1),
        ("item.price < 5.0", 4),
        ('item.colour == "red"', 3),
        ('item.colour == user.segment || "price" in item.known', 5),
        ('item.id == "2"', 2),
        ("item.id == '2'", 2),
        ('item.id != "2" && item.id != "3"', 3),
        ('item.id in ["2", "3", "no such id"]', 3),
        ('!(item.id in ["2"]) || item.colour == "red"', 4),
        ('item.price < 5.0 ? item.id == "1" : item.id == "9"', 4),
        ('user.id == "9" && item.colour == "blue"', 3),
        # these may tell all ids apart
        ("item.id < '2'", 5),
        ('item.id == "1" + "0"', 5),
        ('"1" + item.id == "11"', 5),
        ('"2" == item.id', 5),
        ("item.id == user.id", 5),
        ('item . id == "2"', 5),
        ('item.id in ["2"] == false', 5),
        ('item.id == r"2"', 5),
        ('item.id == """2"""', 5),
        ("item.id == '\\x32'", 5),
        ('[item.id == "2"][0]', 5),
        ('item. // a comment\nid == "2"', 5),
        ("size(item.id) == 2", 5),
        ('item.id == "2" && item.id.startsWith("2")', 5),
    ],
)
def test_the_items_are_those_of_one_evaluation_for_each(text: str, n_combinations: int) -> None:
    kinds = {**variables("item", TABLE.kinds), **variables("user", {"segment": "text"})}
    condition = compiler(kinds)(text)
    combinations = ITEMS.combinations(text)
    assert len(combinations) == n_combinations
    names = [name for name in mentioned(text, TABLE.columns) if name != "id"]
    expected = []
    for column, id_ in enumerate(IDS.ids.tolist()):
        values = {name: TABLE.columns[name].value(column) for name in names}
        expected.append(condition.holds({**USER, **named_values("item", values), "item.id": id_}))
    matching, n_unknown = ITEMS.matching(condition, combinations, USER)
    assert matching.tolist() == [each is True for each in expected]
    assert n_unknown == expected.count(None)


def bind(*rules: dict[str, Any]) -> BoundRules:
    named = [{"name": f"r{place}", "action": "exclude", **rule} for place, rule in enumerate(rules)]
    return BoundRules(parse({"rules": named}, "f"), None, IDS)


@pytest.mark.parametrize(
    ("limit", "text", "when"),
    [
        ("MAX_LOADED", 'item.id > "2"', "when it is loaded"),
        ("MAX_REQUESTED", "item.id == user.id", "in a request"),
    ],
)
def test_rules_with_too_many_combinations_are_refused(
    monkeypatch: pytest.MonkeyPatch, limit: str, text: str, when: str
) -> None:
    monkeypatch.setattr(rules_of_model, limit, 10)
    assert bind({"items": text}, {"items": text}).version
    with pytest.raises(RulesError) as error:
        bind({"items": text}, {"items": text}, {"items": text})
    assert "rule r2 items: got 5 combinations of the values that it uses, 15 with the rules before it" in str(
        error.value
    )
    assert f"allowed: up to 10, because all are evaluated {when}; use attributes with fewer values" in str(error.value)
    assert ("in `when`" in str(error.value)) == (limit == "MAX_REQUESTED")


def test_a_condition_that_takes_too_many_steps_is_not_met() -> None:
    loops = "true"
    for name in "abcdef":
        loops = f"[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].all({name}, {loops})"
    rules = bind({"items": loops}, {"items": "true", "when": loops}, {"items": f"user.id == '1' && {loops}"})
    steering = rules.steering("1", "for_you", 5, 0)
    assert steering
    assert [(each.rule.name, each.items.any()) for each in steering.active] == [("r0", False), ("r2", False)]


def test_a_request_does_not_compute_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = bind({"items": "true"})
    monkeypatch.setattr(Rules, "text", property(lambda _: pytest.fail("computed again")))
    assert len(rules.version) == 64


def test_a_service_without_rules_does_not_load_the_library_of_conditions() -> None:
    code = """
import sys, numpy as np
from recommenders.events.ids import IdMap
from serving.champion import watcher
from serving.steering.rules.rule_types import Rules
watcher.BoundRules(Rules(), None, IdMap.from_ids(["1"]))
print("cel_expr_python" in sys.modules, "google.protobuf" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
