"""The order of a list by rules, with a ranking that is made up."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.math.ranked import Ranked
from serving.steering.rules.active_rules import ActiveRule, Effects, Steering
from serving.steering.rules.item_choice import Chosen
from serving.steering.rules.model_ranking import Mask, ModelRanking
from serving.steering.rules.rule_types import parse

PROBABILITIES = [0.5, 0.4, 0.3, 0.2, 0.1, 0.045]  # item 0 is the best
N = len(PROBABILITIES)


def rank(mask: Mask, k: int) -> Ranked:
    columns = np.flatnonzero(mask)[:k]
    return Ranked(columns[None].astype(np.int32), (10.0 - columns[None]).astype(np.float32))


def probabilities(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array(PROBABILITIES, np.float32)[10 - scores.astype(int)]


def choose(
    n: int, *rules: tuple[dict[str, Any], Any], codes: list[int] | None = None, depth: int = 10
) -> tuple[Any, Effects]:
    """The list of n items by rules, each with the items that match it."""
    active = []
    for place, (rule, items) in enumerate(rules):
        named = {"name": f"r{place}", "items": "true", **rule}
        mask = np.isin(np.arange(N), items)
        active.append(ActiveRule(parse({"rules": [named]}, "f").rules[0], mask, np.array(codes) if codes else None))
    steering, all_items = Steering(tuple(active), n), np.ones(N, np.bool_)
    eligible = steering.eligible(None, N)
    eligible = all_items if eligible is None else eligible
    listed = ModelRanking(rank(eligible, depth), depth, rank, probabilities)
    steered = steering.choose(eligible, n, listed)
    return steered.items, steering.effects(all_items, np.array([], np.int32), steered)


def columns(chosen: list[Chosen]) -> list[int]:
    return [item.column for item in chosen]


def test_a_factor_multiplies_the_probability() -> None:
    boost = {"action": "boost", "factor": 3.0}
    found, effects = choose(3, (boost, [3, 5]))  # 0.6 and 0.135
    assert columns(found) == [3, 0, 1]
    assert [item.rules for item in found] == [("r0",), (), ()]
    assert [item.score for item in found] == [7.0, 10.0, 9.0]  # of the model
    assert effects == {"r0": {"lists": 1, "items": 1}}
    assert columns(choose(6, ({"action": "boost", "factor": 0.1}, [0, 1]))[0]) == [2, 3, 4, 0, 5, 1]


def test_the_first_boost_of_an_item_decides() -> None:
    first, second = {"action": "boost", "factor": 3.0}, {"action": "boost", "factor": 100.0}
    found, _ = choose(3, (first, [5]), (second, [5, 4]))
    assert columns(found) == [4, 0, 1]
    assert found[0].rules == ("r1",)


def test_buried_items_come_last_and_only_if_there_are_too_few_others() -> None:
    bury = {"action": "bury"}
    assert columns(choose(3, (bury, [0, 1]))[0]) == [2, 3, 4]
    found, effects = choose(6, (bury, [0, 1]), ({"action": "boost", "factor": 1000.0}, [1]))
    assert columns(found) == [2, 3, 4, 5, 1, 0]
    assert found[4].rules == ("r1", "r0")
    assert effects["r0"]["items"] == 2


def test_pins_take_their_slots_and_the_first_of_two_wins() -> None:
    pins = (
        ({"action": "pin", "slot": 2}, [4, 5]),
        ({"action": "pin", "slot": 2}, [3]),
        ({"action": "pin", "slot": 9}, [3]),
    )
    found, effects = choose(4, *pins)
    assert columns(found) == [0, 4, 1, 2]
    assert [item.rules for item in found] == [(), ("r0",), (), ()]
    assert [effects[name]["items"] for name in ("r0", "r1", "r2")] == [1, 0, 0]


def test_a_list_that_is_too_short_for_a_slot_has_the_pinned_item_at_its_end() -> None:
    found, _ = choose(6, ({"action": "pin", "slot": 5}, [0]), ({"action": "include_only"}, [0, 1, 2]))
    assert columns(found) == [1, 2, 0]


def test_a_limit_counts_pinned_items_and_keeps_others_out() -> None:
    limit = {"action": "limit", "attribute": "brand", "at_most": 1}
    codes = [7, 7, 8, 8, -1, -1]  # -1: no brand, so no limit
    found, effects = choose(6, (limit, range(N)), ({"action": "pin", "slot": 1}, [3]), codes=codes)
    assert columns(found) == [3, 0, 4, 5]
    assert effects["r0"] == {"lists": 1, "items": 2}
    found, _ = choose(6, (limit, [0, 1]), codes=codes)  # of these items only
    assert columns(found) == [0, 2, 3, 4, 5]
    found, _ = choose(
        6, (limit, range(N)), ({"action": "pin", "slot": 1}, [2]), ({"action": "pin", "slot": 2}, [3]), codes=codes
    )
    assert columns(found) == [2, 0, 4, 5]  # the second pin would break the limit


def test_removed_items_are_counted() -> None:
    _, effects = choose(2, ({"action": "exclude"}, [0, 1, 2]), ({"action": "include_only"}, [3, 4]))
    assert effects == {"r0": {"lists": 1, "items": 3}, "r1": {"lists": 1, "items": 4}}
