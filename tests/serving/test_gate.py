"""The gate on vectors whose answer is known."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recommenders.errors import ConfigurationError, ReleaseError
from serving.gate import GateRules, choose_candidate, compare, decide

RULES = GateRules(n_resamples=200)
POOR, GOOD = np.full(50, 0.2), np.full(50, 0.4)
VECTORS = arrays(np.float64, 12, elements=st.floats(0, 1) | st.just(float("nan")))


def test_a_better_challenger_is_promoted():
    decision = decide(GOOD, POOR, POOR, candidate="hybrid", rules=RULES)
    assert decision.promote
    assert len(decision.reasons) == 2


def test_a_challenger_below_popularity_is_blocked_and_told_why():
    decision = decide(POOR, GOOD, POOR, candidate="hybrid", rules=RULES)
    assert not decision.promote
    assert decision.reasons[0] == (
        "hybrid does not beat popularity: NDCG@10 -0.2000 [-0.2000, -0.2000] over 50 users; the low end must be above 0"
    )


def test_equal_to_popularity_does_not_pass():
    assert not decide(GOOD, GOOD, POOR, candidate="hybrid", rules=RULES).promote


def test_popularity_itself_need_not_beat_popularity():
    decision = decide(POOR, POOR, POOR, candidate="popularity", rules=RULES)
    assert decision.promote
    assert "versus_popularity" not in decision.record


def test_a_loss_within_the_margin_passes_and_a_larger_one_does_not():
    champion = np.full(50, 0.5)
    assert decide(champion * 0.995, POOR, champion, candidate="hybrid", rules=RULES).promote
    blocked = decide(champion * 0.98, POOR, champion, candidate="hybrid", rules=RULES)
    assert not blocked.promote
    assert "hybrid may be worse than champion" in blocked.reasons[1]
    assert decide(champion * 0.98, POOR, champion, candidate="hybrid", rules=GateRules(margin=0.03)).promote


def test_the_interval_decides_and_not_the_mean():
    noise = np.random.default_rng(1).normal(0, 0.3, 50)
    noise += 0.01 - noise.mean()  # better on average, by far less than chance
    assert not decide(POOR + noise, POOR, POOR, candidate="hybrid", rules=RULES).promote


def test_without_a_champion_the_candidate_is_the_first_and_the_record_says_so():
    decision = decide(POOR, GOOD, None, candidate="content_based", rules=RULES)
    assert decision.promote
    assert decision.record["first_champion"] is True
    assert decision.reasons[0].startswith("no champion yet: content_based")


def test_the_record_is_json_even_where_nothing_can_be_compared():
    nothing = np.full(50, np.nan)
    decision = decide(nothing, POOR, GOOD, candidate="hybrid", rules=RULES)
    assert not decision.promote
    assert "cannot be compared" in decision.reasons[0]
    record = json.loads(json.dumps(decision.record, allow_nan=False))
    assert record["versus_champion"]["difference"] is None
    assert record["challenger_mean"] is None


def test_users_undefined_on_one_side_are_left_out():
    left, right = np.array([1.0, np.nan, 0.5]), np.array([0.5, 0.1, np.nan])
    assert compare(left, right, RULES).users == 1


def test_vectors_of_other_users_are_refused():
    with pytest.raises(ReleaseError, match=r"same users; got vectors of \(50,\) and \(49,\)"):
        decide(GOOD, POOR[:-1], candidate="hybrid")


@pytest.mark.parametrize("wrong", [{"margin": -0.1}, {"margin": 1.0}, {"confidence": 1.0}])
def test_impossible_rules_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="allowed"):
        GateRules(**wrong)


@settings(max_examples=30)
@given(VECTORS, VECTORS)
def test_the_interval_holds_the_difference_and_turns_round_with_the_sides(left, right):
    there, back = compare(left, right, RULES), compare(right, left, RULES)
    if there.users >= 2:
        assert there.low - 1e-12 <= there.high
        assert there.difference == pytest.approx(-back.difference)
        assert there.low == pytest.approx(-back.high, abs=1e-9)


class TestChooseCandidate:
    def test_the_preferred_one_if_it_beats_popularity(self):
        vectors = {"hybrid": GOOD, "popularity": POOR, "content_based": GOOD + 0.1}
        assert choose_candidate(vectors, has_champion=False) == "hybrid"

    def test_the_best_one_if_it_does_not_and_nobody_serves(self):
        vectors = {"hybrid": POOR, "popularity": GOOD, "content_based": GOOD + 0.1}
        assert choose_candidate(vectors, has_champion=False) == "content_based"

    def test_the_preferred_one_where_somebody_serves_already(self):
        assert choose_candidate({"hybrid": POOR, "popularity": GOOD}, has_champion=True) == "hybrid"

    def test_the_best_one_where_the_preferred_one_was_not_trained(self):
        assert choose_candidate({"popularity": POOR, "content_based": GOOD}, has_champion=True) == "content_based"

    def test_no_candidate_with_a_score_is_an_error(self):
        with pytest.raises(ReleaseError, match="no candidate has a defined NDCG@10; got hybrid"):
            choose_candidate({"hybrid": np.full(3, np.nan)})
