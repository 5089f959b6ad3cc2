"""The gate on vectors whose answer is known."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recommenders.errors import ConfigurationError, ReleaseError
from recommenders.evaluation.comparison import paired_difference
from serving.release.gate import Finding, GateRules, Rival, choose_candidate, compare, decide

RULES = GateRules(n_resamples=200)
POOR, GOOD = np.full(50, 0.2), np.full(50, 0.4)
VECTORS = arrays(np.float64, 12, elements=st.floats(0, 1) | st.just(float("nan")))


def against(challenger: np.ndarray, champion: np.ndarray, must_beat: str = "") -> Rival:
    return Rival("version 1", "a window", challenger, champion, must_beat=must_beat)


def test_a_better_challenger_is_promoted():
    decision = decide(GOOD, POOR, against(GOOD, POOR), candidate="hybrid", rules=RULES)
    assert decision.promote
    assert len(decision.reasons) == 2


def test_a_challenger_below_popularity_is_blocked_and_told_why():
    decision = decide(POOR, GOOD, against(POOR, POOR), candidate="hybrid", rules=RULES)
    assert not decision.promote
    assert decision.reasons[0] == (
        "hybrid does not beat popularity: NDCG@10 -0.2000 [-0.2000, -0.2000] over 50 users; the low end must be above 0"
    )


def test_equal_to_popularity_does_not_pass():
    assert not decide(GOOD, GOOD, against(GOOD, POOR), candidate="hybrid", rules=RULES).promote


def test_popularity_itself_need_not_beat_popularity():
    decision = decide(POOR, POOR, against(POOR, POOR), candidate="popularity", rules=RULES)
    assert decision.promote
    assert "versus_popularity" not in decision.record


def test_a_loss_within_the_margin_passes_and_a_larger_one_does_not():
    champion = np.full(50, 0.5)

    def promoted(share: float, margin: float = 0.01) -> bool:
        rival = against(champion * share, champion)
        return decide(
            champion * share, POOR, rival, candidate="hybrid", rules=GateRules(margin, n_resamples=200)
        ).promote

    assert promoted(0.995)
    assert not promoted(0.98)
    assert promoted(0.98, margin=0.03)


@settings(max_examples=60)
@given(VECTORS, VECTORS, st.floats(0, 0.2))
def test_the_low_end_of_the_interval_decides_about_the_champion(challenger, champion, margin):
    """Whatever the means: the law of the gate, stated by a bootstrap of its own."""
    rules = GateRules(margin=margin, n_resamples=200)
    both = ~(np.isnan(challenger) | np.isnan(champion))
    decision = decide(
        np.full(12, 0.4), np.full(12, 0.2), against(challenger, champion), candidate="hybrid", rules=rules
    )
    if both.sum() < 2:
        assert not decision.promote
        return
    low = paired_difference(challenger, champion, 200, 0.95, rules.seed).low
    assert decision.promote == bool(low >= -margin * champion[both].mean())


def test_a_mean_gain_that_may_be_chance_does_not_pass():
    noise = np.random.default_rng(1).normal(0, 0.3, 50)
    noise += 0.01 - noise.mean()  # better on average, by far less than chance
    rival = against(GOOD + noise, GOOD)
    decision = decide(GOOD, POOR, rival, candidate="hybrid", rules=RULES)
    assert decision.record["versus_champion"]["difference"] > 0
    assert not decision.promote


def test_what_must_beat_the_champion_is_not_let_pass_for_being_as_good():
    assert not decide(GOOD, POOR, against(GOOD, GOOD, "rolled back"), candidate="hybrid", rules=RULES).promote
    decision = decide(GOOD, POOR, against(GOOD, POOR, "rolled back"), candidate="hybrid", rules=RULES)
    assert decision.promote
    assert decision.reasons[-1].endswith("; rolled back")


def test_a_finding_that_does_not_hold_stops_a_release_the_first_one_too():
    wrong = Finding(False, "the refit's scores are not all finite")
    for rival in (None, against(GOOD, POOR)):
        decision = decide(GOOD, POOR, rival, candidate="hybrid", findings=[wrong], rules=RULES)
        assert not decision.promote
        assert decision.reasons[0] == wrong.reason


def test_without_a_champion_the_candidate_is_the_first_and_the_record_says_so():
    decision = decide(POOR, GOOD, None, candidate="content_based", rules=RULES)
    assert decision.promote
    assert decision.record["first_champion"] is True
    assert decision.reasons[0].startswith("no champion yet: content_based")


def test_the_record_is_json_even_where_nothing_can_be_compared():
    nothing = np.full(50, np.nan)
    decision = decide(nothing, POOR, against(nothing, GOOD), candidate="hybrid", rules=RULES)
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


@pytest.mark.parametrize("wrong", [{"margin": -0.1}, {"margin": 1.0}, {"confidence": 1.0}, {"confidence": 0.0}])
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
    """What was chosen on the validation window goes on, whatever the test window says, as long as it can."""

    @pytest.mark.parametrize("chosen", ["hybrid", "hybrid_learned"])
    def test_the_chosen_one_not_the_one_that_the_test_window_favours(self, chosen):
        vectors = {"hybrid": GOOD, "hybrid_learned": GOOD + 0.1, "popularity": POOR}
        assert choose_candidate(vectors, chosen, has_champion=True) == chosen
        assert choose_candidate(vectors, chosen, has_champion=False) == chosen

    def test_the_best_one_where_the_chosen_one_does_not_beat_popularity_and_nothing_serves(self):
        vectors = {"hybrid": POOR, "popularity": GOOD, "content_based": GOOD + 0.1}
        assert choose_candidate(vectors, "hybrid", has_champion=False) == "content_based"
        assert choose_candidate(vectors, "hybrid", has_champion=True) == "hybrid"

    def test_popularity_where_nothing_beats_it_and_nothing_serves(self):
        assert choose_candidate({"hybrid": GOOD, "popularity": GOOD}, "hybrid") == "popularity"

    def test_the_best_one_where_the_chosen_one_could_not_be_fitted(self):
        assert choose_candidate({"popularity": POOR, "content_based": GOOD}, "hybrid", True) == "content_based"

    def test_no_candidate_with_a_score_is_an_error(self):
        with pytest.raises(ReleaseError, match="no candidate has a defined NDCG@10; got hybrid"):
            choose_candidate({"hybrid": np.full(3, np.nan)}, "hybrid")


def test_two_users_are_the_fewest_that_tell_anything():
    def reason(n):
        left, right = np.full(5, np.nan), np.full(5, 0.2)
        left[:n] = 0.4
        decision = decide(left, right, against(left, right), candidate="hybrid", rules=RULES)
        return decision.promote, decision.reasons

    assert reason(1) == (
        False,
        tuple(
            f"hybrid cannot be compared with {other}: 1 users have a defined NDCG@10"
            for other in ("popularity", "version 1")
        ),
    )
    assert reason(2)[0]


def test_the_record_says_how_much_worse_would_have_passed():
    champion = np.full(50, 0.5)
    decision = decide(champion, POOR, against(champion, champion), candidate="hybrid", rules=RULES)
    assert decision.record["versus_champion"]["allowed_loss"] == pytest.approx(0.005)
    assert decision.reasons[1].endswith("the low end must reach -0.0050")
    decision = decide(
        champion, POOR, against(champion, champion, "it was rolled back"), candidate="hybrid", rules=RULES
    )
    assert decision.record["versus_champion"]["allowed_loss"] == 0
    assert not decision.promote


@pytest.mark.parametrize("missing", ["challenger", "champion"])
def test_one_side_alone_is_no_comparison(missing):
    sides = {"challenger": GOOD, "champion": GOOD, missing: None}
    decision = decide(GOOD, POOR, Rival("version 1", "its lists are gone", **sides), candidate="hybrid", rules=RULES)
    assert decision.reasons[1] == "hybrid is not compared with version 1: its lists are gone"
    assert not decision.record["versus_champion"]


def test_who_was_chosen_stays_where_there_is_no_popularity_or_it_is_popularity():
    assert choose_candidate({"hybrid": POOR, "repurchase": GOOD}, "hybrid", rules=RULES) == "hybrid"
    assert choose_candidate({"hybrid": GOOD, "popularity": POOR}, "popularity", rules=RULES) == "popularity"
    assert choose_candidate({"hybrid": POOR, "popularity": GOOD}, "hybrid", rules=RULES) == "popularity"
    assert choose_candidate({"hybrid": POOR, "popularity": GOOD}, "hybrid", has_champion=True, rules=RULES) == "hybrid"


def test_the_rules_unless_said():
    assert GateRules() == GateRules(margin=0.01, confidence=0.95, n_resamples=2000, seed=42)
    noisy = np.random.default_rng(0).random((2, 40))
    one, other = (compare(*noisy, rules) for rules in (GateRules(), GateRules(seed=43)))
    assert one != other
