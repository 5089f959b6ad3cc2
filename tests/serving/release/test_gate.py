"""The gate on vectors for which the right decision is known."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recommenders.errors import ConfigurationError, ReleaseError
from recommenders.evaluation.statistics.comparison import paired_difference
from serving.release.gate import ChampionComparison, GateCheck, GateRules, choose_candidate, compare, decide

RULES = GateRules(n_resamples=200)
POOR, GOOD = np.full(50, 0.2), np.full(50, 0.4)
VECTORS = arrays(np.float64, 12, elements=st.floats(0, 1) | st.just(float("nan")))


def compared(challenger: np.ndarray, champion: np.ndarray, must_be_better_reason: str = "") -> ChampionComparison:
    return ChampionComparison(
        "version 1", "a window", challenger, champion, must_be_better_reason=must_be_better_reason
    )


def test_a_better_challenger_is_promoted():
    decision = decide(GOOD, POOR, compared(GOOD, POOR), candidate="hybrid", rules=RULES)
    assert decision.promote
    assert len(decision.reasons) == 2


def test_a_challenger_below_popularity_is_not_promoted_and_the_reason_is_given():
    decision = decide(POOR, GOOD, compared(POOR, POOR), candidate="hybrid", rules=RULES)
    assert not decision.promote
    assert decision.reasons[0] == (
        "hybrid is not clearly better than popularity: the difference of NDCG@10 is -0.2000 [-0.2000, -0.2000] over "
        "50 users; the lower bound must be above 0"
    )


def test_equal_to_popularity_does_not_pass():
    assert not decide(GOOD, GOOD, compared(GOOD, POOR), candidate="hybrid", rules=RULES).promote


def test_popularity_itself_need_not_beat_popularity():
    decision = decide(POOR, POOR, compared(POOR, POOR), candidate="popularity", rules=RULES)
    assert decision.promote
    assert "versus_popularity" not in decision.record


def test_a_loss_within_the_margin_passes_and_a_larger_loss_does_not():
    champion = np.full(50, 0.5)

    def promoted(share: float, margin: float = 0.01) -> bool:
        comparison = compared(champion * share, champion)
        return decide(
            champion * share, POOR, comparison, candidate="hybrid", rules=GateRules(margin, n_resamples=200)
        ).promote

    assert promoted(0.995)
    assert not promoted(0.98)
    assert promoted(0.98, margin=0.03)


def test_a_provisional_champion_is_replaced_unless_the_challenger_is_clearly_worse():
    noisy = np.tile([0.0, 1.0], 25)

    def decided(challenger: np.ndarray, provisional: bool = True):
        comparison = ChampionComparison("version 1 (ease)", "a window", challenger, noisy, is_provisional=provisional)
        return decide(GOOD, POOR, comparison, candidate="hybrid", rules=RULES)

    assert decided(1 - noisy).promote  # no evidence either way
    assert not decided(1 - noisy, provisional=False).promote
    worse = decided(noisy / 2)
    assert not worse.promote
    assert "is clearly worse than version 1 (ease), which serves only until all models" in worse.reasons[-1]
    assert decided(np.full(50, np.nan)).promote  # a shop without users to compare


@settings(max_examples=60)
@given(VECTORS, VECTORS, st.floats(0, 0.2))
def test_the_lower_bound_of_the_interval_decides_against_the_champion(challenger, champion, margin):
    """Compares the decision with a separate bootstrap, for all means."""
    rules = GateRules(margin=margin, n_resamples=200)
    both = ~(np.isnan(challenger) | np.isnan(champion))
    decision = decide(
        np.full(12, 0.4), np.full(12, 0.2), compared(challenger, champion), candidate="hybrid", rules=rules
    )
    if both.sum() < 2:
        assert not decision.promote
        return
    low = paired_difference(challenger, champion, 200, 0.95, rules.seed).low
    assert decision.promote == bool(low >= -margin * champion[both].mean())


def test_a_mean_gain_that_is_not_significant_does_not_pass():
    noise = np.random.default_rng(1).normal(0, 0.3, 50)
    noise += 0.01 - noise.mean()  # better on average, by far less than the noise
    comparison = compared(GOOD + noise, GOOD)
    decision = decide(GOOD, POOR, comparison, candidate="hybrid", rules=RULES)
    assert decision.record["versus_champion"]["difference"] > 0
    assert not decision.promote


def test_an_equal_challenger_does_not_pass_if_it_must_be_better():
    assert not decide(GOOD, POOR, compared(GOOD, GOOD, "rolled back"), candidate="hybrid", rules=RULES).promote
    decision = decide(GOOD, POOR, compared(GOOD, POOR, "rolled back"), candidate="hybrid", rules=RULES)
    assert decision.promote
    assert decision.reasons[-1].endswith("; rolled back")


def test_a_failed_check_stops_a_release_also_the_first_one():
    failed = GateCheck(False, "not all scores of the refitted model are finite")
    for comparison in (None, compared(GOOD, POOR)):
        decision = decide(GOOD, POOR, comparison, candidate="hybrid", earlier_checks=[failed], rules=RULES)
        assert not decision.promote
        assert decision.reasons[0] == failed.reason


def test_without_a_champion_the_candidate_becomes_the_first_and_the_record_states_it():
    decision = decide(POOR, GOOD, None, candidate="content_based", rules=RULES)
    assert decision.promote
    assert decision.record["first_champion"] is True
    assert decision.reasons[0].startswith("there is no champion yet: content_based")


def test_the_record_is_json_even_if_nothing_can_be_compared():
    undefined = np.full(50, np.nan)
    decision = decide(undefined, POOR, compared(undefined, GOOD), candidate="hybrid", rules=RULES)
    assert not decision.promote
    assert "cannot be compared" in decision.reasons[0]
    record = json.loads(json.dumps(decision.record, allow_nan=False))
    assert record["versus_champion"]["difference"] is None
    assert record["challenger_mean"] is None


def test_users_undefined_on_one_side_are_left_out():
    left, right = np.array([1.0, np.nan, 0.5]), np.array([0.5, 0.1, np.nan])
    assert compare(left, right, RULES).users == 1


def test_vectors_of_different_lengths_are_an_error():
    with pytest.raises(ReleaseError, match=r"same users; got vectors of \(50,\) and \(49,\)"):
        decide(GOOD, POOR[:-1], candidate="hybrid")


@pytest.mark.parametrize("wrong", [{"margin": -0.1}, {"margin": 1.0}, {"confidence": 1.0}, {"confidence": 0.0}])
def test_impossible_rules_are_an_error(wrong):
    with pytest.raises(ConfigurationError, match="allowed"):
        GateRules(**wrong)


@settings(max_examples=30)
@given(VECTORS, VECTORS)
def test_the_interval_changes_its_sign_when_the_sides_are_swapped(left, right):
    forward, backward = compare(left, right, RULES), compare(right, left, RULES)
    if forward.users >= 2:
        assert forward.low - 1e-12 <= forward.high
        assert forward.difference == pytest.approx(-backward.difference)
        assert forward.low == pytest.approx(-backward.high, abs=1e-9)


class TestChooseCandidate:
    """The model chosen on the validation window is the candidate, whatever the test window shows, if it was fitted."""

    @pytest.mark.parametrize("chosen", ["hybrid", "hybrid_learned"])
    def test_the_chosen_model_and_not_the_best_on_the_test_window(self, chosen):
        vectors = {"hybrid": GOOD, "hybrid_learned": GOOD + 0.1, "popularity": POOR}
        assert choose_candidate(vectors, chosen, has_champion=True) == chosen
        assert choose_candidate(vectors, chosen, has_champion=False) == chosen

    def test_the_best_model_if_the_chosen_one_does_not_beat_popularity_and_there_is_no_champion(self):
        vectors = {"hybrid": POOR, "popularity": GOOD, "content_based": GOOD + 0.1}
        assert choose_candidate(vectors, "hybrid", has_champion=False) == "content_based"
        assert choose_candidate(vectors, "hybrid", has_champion=True) == "hybrid"

    def test_popularity_if_no_model_beats_it_and_there_is_no_champion(self):
        assert choose_candidate({"hybrid": GOOD, "popularity": GOOD}, "hybrid") == "popularity"

    def test_the_best_model_if_the_chosen_one_could_not_be_fitted(self):
        assert choose_candidate({"popularity": POOR, "content_based": GOOD}, "hybrid", True) == "content_based"

    def test_no_candidate_with_a_score_is_an_error(self):
        with pytest.raises(ReleaseError, match="no candidate has a defined NDCG@10; got hybrid"):
            choose_candidate({"hybrid": np.full(3, np.nan)}, "hybrid")


def test_a_comparison_needs_at_least_two_users():
    def reason(n):
        left, right = np.full(5, np.nan), np.full(5, 0.2)
        left[:n] = 0.4
        decision = decide(left, right, compared(left, right), candidate="hybrid", rules=RULES)
        return decision.promote, decision.reasons

    assert reason(1) == (
        False,
        tuple(
            f"hybrid cannot be compared with {other}: the number of users with a defined NDCG@10 is 1, and at least 2 "
            "are needed"
            for other in ("popularity", "version 1")
        ),
    )
    assert reason(2)[0]


def test_the_record_holds_the_allowed_loss():
    champion = np.full(50, 0.5)
    decision = decide(champion, POOR, compared(champion, champion), candidate="hybrid", rules=RULES)
    assert decision.record["versus_champion"]["allowed_loss"] == pytest.approx(0.005)
    assert decision.reasons[1].endswith("the lower bound must be at least -0.0050")
    decision = decide(
        champion, POOR, compared(champion, champion, "it was rolled back"), candidate="hybrid", rules=RULES
    )
    assert decision.record["versus_champion"]["allowed_loss"] == 0
    assert not decision.promote


@pytest.mark.parametrize("missing", ["challenger", "champion"])
def test_one_side_alone_is_not_compared(missing):
    sides = {"challenger": GOOD, "champion": GOOD, missing: None}
    decision = decide(
        GOOD, POOR, ChampionComparison("version 1", "its lists are gone", **sides), candidate="hybrid", rules=RULES
    )
    assert decision.reasons[1] == "hybrid is not compared with version 1: its lists are gone"
    assert not decision.record["versus_champion"]


def test_the_chosen_model_stays_without_a_popularity_baseline_or_if_it_is_popularity():
    assert choose_candidate({"hybrid": POOR, "repurchase": GOOD}, "hybrid", rules=RULES) == "hybrid"
    assert choose_candidate({"hybrid": GOOD, "popularity": POOR}, "popularity", rules=RULES) == "popularity"
    assert choose_candidate({"hybrid": POOR, "popularity": GOOD}, "hybrid", rules=RULES) == "popularity"
    assert choose_candidate({"hybrid": POOR, "popularity": GOOD}, "hybrid", has_champion=True, rules=RULES) == "hybrid"


def test_the_default_rules():
    assert GateRules() == GateRules(margin=0.01, confidence=0.95, n_resamples=2000, seed=42)
    noisy = np.random.default_rng(0).random((2, 40))
    one, other = (compare(*noisy, rules) for rules in (GateRules(), GateRules(seed=43)))
    assert one != other
