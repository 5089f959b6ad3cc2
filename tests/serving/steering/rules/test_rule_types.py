"""The file of rules: what is allowed, and what its errors say."""

import json
from typing import Any

import pytest

from serving.steering.rules.rule_types import Rules, RulesError, parse

RULE = {"name": "a", "action": "exclude", "items": "true"}


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        ([], "rules.yaml: got a list of 0; allowed: the keys rules, a list of rules, and exploration; fix the file"),
        (None, "rules.yaml: got None; allowed: the keys rules"),
        ({"rule": []}, "rule: got a list of 0; allowed: only the keys rules, exploration; did you mean rules?"),
        ({"rules": 5}, "rules: got 5; allowed: a list; fix the file"),
        ({"rules": [{**RULE, "itms": "x"}]}, "rule a itms: got 'x'; allowed: only the keys name, when, items, action"),
        ({"rules": [{**RULE, "itms": "x"}]}, "did you mean items?"),
        ({"rules": [{**RULE, "action": "exlude"}]}, "rule a: got a dict of 3; allowed: action with one of exclude"),
        ({"rules": [{**RULE, "action": "exlude"}]}, "did you mean exclude?"),
        ({"rules": [{"name": "a", "action": "exclude"}]}, "rule a items: got nothing; allowed: "),
        ({"rules": [{**RULE, "action": "pin", "slot": 0}]}, "rule a slot: got 0; allowed: greater than or equal to 1"),
        ({"rules": [{**RULE, "action": "pin", "slot": "1"}]}, "rule a slot: got '1'; allowed: a valid integer"),
        ({"rules": [{**RULE, "action": "boost", "factor": float("inf")}]}, "rule a factor: got inf; allowed: "),
        ({"rules": [{**RULE, "name": "A b"}]}, "rule A b name: got 'A b'; allowed: "),
        ({"rules": [RULE, RULE]}, "got two rules named a; allowed: each name once"),
        ({"rules": [RULE] * 101}, "got 101 rules; allowed: up to 100"),
        ({"rules": [5]}, "rule 1: got 5; allowed: keys, each with a value"),
        ({"exploration": {}}, "exploration.share: got nothing; allowed: "),
        ({"exploration": 0.1}, "exploration: got 0.1; allowed: keys, each with a value"),
        ({"exploration": {"share": 0.1, "scenes": "for_you"}}, "exploration.scenes: got 'for_you'; allowed: a list"),
        ({"exploration": {"share": 0}}, "exploration.share: got 0; allowed: greater than 0"),
        ({"exploration": {"share": 0.6}}, "exploration.share: got 0.6; allowed: less than or equal to 0.5"),
        ({"exploration": {"share": "0.1"}}, "exploration.share: got '0.1'; allowed: a valid number"),
        (
            {"exploration": {"share": 0.1, "depth": 101}},
            "exploration.depth: got 101; allowed: less than",
        ),
        ({"exploration": {"share": 0.1, "scenes": ["all"]}}, "exploration.scenes: got 'all'; allowed: 'for_you', "),
        ({"exploration": {"share": 0.1, "scenes": []}}, "exploration.scenes: got a list of 0; allowed: "),
        ({"exploration": {"shre": 0.1}}, "exploration.shre: got 0.1; allowed: only the keys share, depth, scenes; did"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_place(content: Any, reported: str) -> None:
    with pytest.raises(RulesError) as error:
        parse(content, "rules.yaml")
    assert reported in str(error.value)
    assert "\n" not in str(error.value)


def test_the_version_is_that_of_the_content() -> None:
    assert Rules().version == parse({"rules": []}, "f").version == ""
    one = parse({"rules": [RULE]}, "f")
    assert one.version == parse({"rules": [dict(reversed(RULE.items()))]}, "g").version
    assert one.version != parse({"rules": [{**RULE, "items": "false"}]}, "f").version
    assert len(one.version) == 64
    assert one.version == parse({"rules": [RULE], "exploration": None}, "f").version
    explored = parse({"rules": [RULE], "exploration": {"share": 0.1}}, "f")
    assert len({one.version, explored.version, parse({"exploration": {"share": 0.1}}, "f").version, ""}) == 4
    assert parse(json.loads(explored.text), "f") == explored
