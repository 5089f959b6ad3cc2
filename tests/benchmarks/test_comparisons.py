"""The rows of the accuracy table: leads, misses, spreads, and Holm's correction."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from measuring.accuracy import comparisons
from measuring.accuracy.comparisons import AHEAD, NOT_BEHIND, Field, View
from measuring.benchmark_tasks import COLD_ITEMS, LATER_VISITS

from recommenders.evaluation.statistics.comparison import Interval


@pytest.mark.parametrize(
    ("low", "high", "role", "floor_met", "goal_met"),
    [
        (0.01, 0.03, AHEAD, True, True),
        (-0.01, 0.03, AHEAD, False, False),
        (-0.03, -0.01, AHEAD, False, False),
        (0.01, 0.03, NOT_BEHIND, True, True),
        (-0.01, 0.03, NOT_BEHIND, True, False),
        (-0.03, -0.01, NOT_BEHIND, False, False),
    ],
)
def test_ahead_is_an_interval_above_zero_and_behind_is_one_below(
    low: float, high: float, role: str, floor_met: bool, goal_met: bool
) -> None:
    line = comparisons.difference(Interval((low + high) / 2, low, high), role)
    assert (line["floor_met"], line["met"], line["bounds"]) == (floor_met, goal_met, role)
    assert "floor" not in comparisons.difference(Interval(0.0, low, high), None)


def row(p: float, role: str | None, met: bool = True) -> dict[str, Any]:
    bounds = {"floor": 0.0, "floor_met": met, "met": met} if role else {"floor": None, "floor_met": None, "met": None}
    return {"p": p, "bounds": role, **bounds}


def test_leads_that_are_not_significant_after_holm_are_not_met() -> None:
    """Holm 1979: p of .001, .02, .03, .04 of four comparisons become .004, .06, .06, .06."""
    rows = [row(0.02, AHEAD), row(0.001, AHEAD), row(0.03, NOT_BEHIND), row(0.04, None), {"floor": None}]
    assert comparisons.apply_holm(rows) == 4
    assert [line["p_holm"] for line in rows[:4]] == [0.06, 0.004, 0.06, 0.06]
    assert [(line["floor_met"], line["met"]) for line in rows[:3]] == [(False, False), (True, True), (True, False)]


def test_a_share_of_the_oracle_lies_in_its_interval() -> None:
    whole = np.random.default_rng(0).uniform(0.4, 0.8, 300)
    found = comparisons.share_interval(whole * 0.5, whole)
    assert found == pytest.approx((0.5, 0.5, 0.5))
    noisy = whole * np.random.default_rng(1).uniform(0.2, 0.8, 300)
    found = comparisons.share_interval(noisy, whole)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(noisy.mean() / whole.mean())


def test_the_flagship_must_be_ahead_of_peers_and_not_behind_its_best_base_model() -> None:
    found = Field(
        ours={name: {} for name in ("popularity", "repurchase", "content_based", "hybrid", "hybrid_learned")},
        others={"implicit_als": {}},
    )
    role = lambda view, name: comparisons.role_of(view, name, found, "repurchase")  # noqa: E731
    assert role("all", "implicit_als") == role("discovery", "implicit_als") == AHEAD
    assert role("reorder", "implicit_als") is None
    assert [role(view, "repurchase") for view in ("all", "reorder", "discovery", "sampled")] == [NOT_BEHIND] * 4
    assert role("all", "popularity") is None
    assert role(LATER_VISITS, "popularity") == role(LATER_VISITS, "repurchase") == NOT_BEHIND
    assert role(f"{COLD_ITEMS}, among_all", "content_based") == NOT_BEHIND
    assert role(f"{COLD_ITEMS}, cold_only", "content_based") is None


def toy_task() -> Any:
    return SimpleNamespace(name="toy", scale=1.0, validation=False, sampled=None)


def view_with_lead(lead: float, leads: dict[str, float]) -> View:
    base = np.random.default_rng(3).uniform(0.2, 0.6, 400)
    ndcg = {"repurchase": base, "hybrid_learned": base + lead, "implicit_als": base - 0.1}
    reruns = {rerun: {"repurchase": base, "hybrid_learned": base + other} for rerun, other in leads.items()}
    return View("all", ndcg, reruns)


FIELD = Field(ours={"repurchase": {}, "hybrid_learned": {}}, others={"implicit_als": {}})


def test_a_row_has_the_spread_of_mean_and_lead_over_seeds_and_tie_orders() -> None:
    view = view_with_lead(0.004, {"seed 1": 0.001, "seed 2": 0.007, "ties 1": -0.002})
    rows = {line["entrant"]: line for line in comparisons.view_rows(toy_task(), view, FIELD)}
    lead = rows["repurchase"]["seed_lead"]
    assert (lead["n"], lead["low"], lead["high"]) == (3, pytest.approx(0.001), pytest.approx(0.007))
    assert rows["repurchase"]["ties_lead"]["low"] == pytest.approx(-0.002)
    assert rows["hybrid_learned"]["seed_spread"]["sd"] == pytest.approx(np.std([0.004, 0.001, 0.007], ddof=1), abs=1e-5)
    assert "the lead over 3 seeds +0.0010 to +0.0070" in rows["repurchase"]["note"]  # a small lead: with its spread
    assert "seeds" not in rows["implicit_als"]["note"]  # a large lead: its spread is only in the results file
    assert rows["implicit_als"]["seed_lead"]["low"] == pytest.approx(0.101)


def test_rows_are_sorted_best_first_with_the_flagships_lead_over_each() -> None:
    rows = comparisons.view_rows(toy_task(), view_with_lead(0.05, {}), FIELD)
    assert [line["entrant"] for line in rows] == ["hybrid_learned", "repurchase", "implicit_als"]
    assert [line.get("difference", [None])[0] for line in rows] == [None, 0.05, 0.15]
    assert [line["floor_met"] for line in rows] == [None, True, True]
    behind = {line["entrant"]: line for line in comparisons.view_rows(toy_task(), view_with_lead(-0.2, {}), FIELD)}
    assert (behind["repurchase"]["floor_met"], behind["implicit_als"]["floor_met"]) == (False, False)
    assert behind["repurchase"]["p"] < 0.001


def test_floors_of_the_flagship_apply_only_to_the_whole_test_window() -> None:
    of = {"value": 0.37, "share": 0.9}
    online = SimpleNamespace(name="online_retail", scale=1.0, validation=False)
    assert comparisons._flagship_bounds(online, "all", of)["floor_met"] is False
    assert comparisons._flagship_bounds(online, "all", of | {"value": 0.39})["floor_met"] is True
    b2b = SimpleNamespace(name="custom_b2b", scale=1.0, validation=False)
    assert comparisons._flagship_bounds(b2b, "all", of) | {"goal": None} == {
        "floor": 0.85,
        "floor_met": True,
        "goal": None,
        "met": False,
        "bounds": "share of the oracle",
    }
    for change in ({"scale": 0.1}, {"validation": True}):
        assert comparisons._flagship_bounds(SimpleNamespace(**vars(online) | change), "all", of) == {}
