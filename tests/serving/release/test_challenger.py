"""The comparison of challenger and champion on the window that the champion was evaluated on."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.errors import ReleaseError
from recommenders.evaluation.evaluate import evaluate
from recommenders.evaluation.report import Report
from recommenders.evaluation.tasks.task import EvaluationConfig
from recommenders.evaluation.window_task import WindowTask, window_task
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import fit_with_base_models
from serving.release import challenger
from serving.release.challenger import (
    MarketData,
    evaluate_challenger,
    ndcg_of_stored_lists,
    promote_evaluated,
    stored_lists,
)
from serving.release.gate import Decision
from serving.release.versions import RECORD_TAG, ROLLED_BACK_TAG, Version

N_USERS, DAYS = 60, 70
START = datetime(2026, 1, 1, tzinfo=UTC)
PROTOCOL = Protocol(split="time_cut", test_days=10)
Lists = Callable[[str, int], pa.Table]
CONFIG = TrainingConfig.model_validate({"evaluation": {"n_resamples": 100}})
GOOD, POOR = "collaborative_filtering", "popularity"


WindowOf = Callable[[int], tuple[MarketData, WindowTask, Report]]


@pytest.fixture(scope="module")
def window_of(weekly: Callable[[int], tuple[pa.Table, pa.Table]]) -> WindowOf:
    """A function of a number of days: the market data, its test window, and the report of two models there."""
    return lambda days: evaluate_market(MarketData(*weekly(days), PROTOCOL))


def evaluate_market(market: MarketData) -> tuple[MarketData, WindowTask, Report]:
    window = window_task(market.interactions, market.items, PROTOCOL)
    models = {name: fit_with_base_models(name, CONFIG, window.log, window.features) for name in (GOOD, POOR)}
    report = evaluate(models, window.task, window.features, config=EvaluationConfig(n_resamples=100))
    return market, window, report


@pytest.fixture(scope="module")
def today(window_of: WindowOf) -> tuple[MarketData, WindowTask, Report]:
    return window_of(DAYS)


@pytest.fixture(scope="module")
def lists_of(window_of: WindowOf) -> Callable[[str, int], pa.Table]:
    """A function of model and number of days: the lists that a version evaluated on such a log stores."""

    def stored(model: str, days: int) -> pa.Table:
        _, window, _ = window_of(days)
        return stored_lists(window.lists(fit_with_base_models(model, CONFIG, window.log, window.features)), window)

    return stored


class FakeEvaluations:
    """The part of a registry that a comparison uses: versions, and the lists that one of them was evaluated by."""

    def __init__(self, lists: pa.Table | None = None, versions: Sequence[Version] = ()) -> None:
        self._lists, self._versions = lists, versions

    def versions(self, _: str) -> Sequence[Version]:
        return self._versions

    def evaluated_lists(self, _: Version) -> pa.Table:
        if self._lists is None:
            raise ReleaseError("the lists are gone")
        return self._lists


def version(number: int, model: str, recipe: str, days: int = DAYS, **tags: str) -> Version:
    """A version that was trained on a log of so many days."""
    last = (START + timedelta(days=days - 1)).replace(tzinfo=None).isoformat(timespec="microseconds")
    known = {"recipe": recipe, "data_version": f"of {days} days", "trained_until": last}
    known |= {"protocol": PROTOCOL.describe(), **tags}
    return Version("toy", number, "run", model, (), START, known)


def decide(champion: Version, challenger: Version, registry: FakeEvaluations, today: Any, **market: Any) -> Decision:
    found, _, report = today
    return evaluate_challenger(registry, champion, challenger, report, replace(found, **market), CONFIG)  # type: ignore[arg-type]


def test_stored_lists_have_the_ndcg_of_the_report(today: Any) -> None:
    _, window, report = today
    for name in (GOOD, POOR):
        lists = window.lists(fit_with_base_models(name, CONFIG, window.log, window.features))
        stored = stored_lists(lists, window)
        assert np.array_equal(ndcg_of_stored_lists(stored, window), report.vectors("ndcg@10")[name])
        some = ndcg_of_stored_lists(stored.slice(0, 7), window)
        assert np.isnan(some[7:]).all()
        assert np.array_equal(some[:7], report.vectors("ndcg@10")[name][:7])


def test_on_the_same_data_the_values_of_the_report_are_compared_and_no_model_is_fitted(
    today: Any, lists_of: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenger, "fit_with_base_models", lambda *_: pytest.fail("a model was fitted"))
    record = decide(
        version(1, GOOD, "old"), version(2, POOR, "new"), FakeEvaluations(lists_of(GOOD, DAYS)), today
    ).record
    vectors = today[2].vectors("ndcg@10")
    assert record["versus_champion"]["difference"] == pytest.approx(np.mean(vectors[POOR] - vectors[GOOD]))
    assert not record["promote"]
    assert "popularity may be worse than version 1" in record["reasons"][0]


def test_on_newer_data_the_challenger_is_fitted_before_the_champions_cut(
    today: Any, lists_of: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted_until = []

    def fit(name: str, config: TrainingConfig, log: Any, features: Any) -> Any:
        fitted_until.append(log.last_event)
        return fit_with_base_models(name, config, log, features)

    monkeypatch.setattr(challenger, "fit_with_base_models", fit)
    champion, registry = version(1, GOOD, "old", days=56), FakeEvaluations(lists_of(GOOD, 56))
    for name, promoted in ((GOOD, True), (POOR, False)):
        decision = decide(champion, version(2, name, "new"), registry, today)
        assert decision.promote is promoted
        assert decision.record["versus_champion"]["users"] == N_USERS
    assert fitted_until == [START + timedelta(days=56 - 1 - PROTOCOL.test_days)] * 2
    assert "2026-02-15" in decision.record["versus_champion"]["window"]


def test_a_short_list_is_evaluated_without_filling_it_up(today: Any) -> None:
    _, window, _ = today
    lists = window.lists(fit_with_base_models(GOOD, CONFIG, window.log, window.features))
    lists[:, 1:] = -1
    stored = stored_lists(lists, window)
    assert {len(items) for items in stored["item_ids"].to_pylist()} == {1}
    assert np.array_equal(ndcg_of_stored_lists(stored, window), window.ndcg(lists))
    # an empty list, of items that were removed from the data since, has a value of zero
    empty = stored.set_column(1, "item_ids", pa.array([[]] * stored.num_rows, pa.list_(pa.string())))
    assert (ndcg_of_stored_lists(empty, window) == 0).all()


def test_versions_without_a_recipe_tag_are_compared(today: Any, lists_of: Lists) -> None:
    champion, challenger = (version(number, GOOD, "") for number in (1, 2))
    assert decide(champion, challenger, FakeEvaluations(lists_of(GOOD, DAYS)), today).record["versus_champion"]
    unknown = version(1, GOOD, "one", data_version="")
    found = decide(unknown, version(2, GOOD, "one"), FakeEvaluations(), today)
    assert found.reasons[-1].endswith("both have the same recipe and code, on other data")


@pytest.mark.parametrize(("days", "data"), [(DAYS, "the same data"), (56, "other data")])
def test_the_same_recipe_and_code_is_not_compared(days: int, data: str, today: Any) -> None:
    decision = decide(version(1, GOOD, "one", days), version(2, GOOD, "one"), FakeEvaluations(), today)
    assert decision.promote
    assert decision.reasons[-1].endswith(f"both have the same recipe and code, on {data}")
    assert decision.record["versus_champion"] == {}


@pytest.mark.parametrize(
    ("lists", "tags", "cause"),
    [
        (None, {}, "the lists are gone"),
        (pa.table({"user_id": ["u00"], "item_ids": [["i01"]]}), {"protocol": "last 3 days"}, "another protocol"),
        (pa.table({"user_id": ["someone"], "item_ids": [["i01"]]}), {}, "none of the users"),
    ],
)
def test_if_a_comparison_is_not_possible_the_record_states_why(
    lists: pa.Table | None, tags: dict[str, str], cause: str, today: Any
) -> None:
    decision = decide(version(1, GOOD, "old", **tags), version(2, GOOD, "new"), FakeEvaluations(lists), today)
    assert decision.promote
    assert cause in decision.reasons[-1]
    assert decision.record["versus_champion"] == {}
    json.dumps(decision.record, allow_nan=False)


def test_older_data_is_not_promoted_unless_a_person_restored_it(today: Any) -> None:
    champion, challenger = version(1, GOOD, "one", days=DAYS + 5), version(2, GOOD, "one")
    failed = decide(champion, challenger, FakeEvaluations(), today)
    assert not failed.promote
    assert failed.reasons[0] == (
        "the challenger's data ends at 2026-03-11T00:00:00, before the data of version 1, which ends at "
        "2026-03-16T00:00:00"
    )
    for tags in ({"trained_until": ""}, {"trained_until": "2026-03-16T00:00:00.000000"}):
        assert decide(champion, version(2, GOOD, "one", **tags), FakeEvaluations(), today).promote  # unknown, or as new
    other = decide(
        champion, version(2, GOOD, "new"), FakeEvaluations(pa.table({"user_id": ["u00"], "item_ids": [["i01"]]})), today
    )
    assert "the present data ends before" in other.reasons[-1]
    assert other.record["versus_champion"] == {}
    assert decide(champion, challenger, FakeEvaluations(), today, restored=True).promote


class TestRolledBack:
    """Version 2 was rolled back, version 1 serves again, version 3 is the next retraining."""

    @pytest.mark.parametrize(
        ("served", "recipe", "days", "promoted"),
        [
            ("one", "one", DAYS, False),  # the same recipe and data again
            ("other", "one", DAYS, False),  # the same recipe and data, and not better than the champion
            ("other", "one", DAYS + 7, False),  # the recipe that was rolled back, on newer data
            ("one", "one", DAYS + 7, True),  # the recipe of the champion, on newer data
            ("one", "new", DAYS, True),  # another recipe
        ],
    )
    def test_a_retraining_does_not_promote_it_again(
        self, served: str, recipe: str, days: int, promoted: bool, today: Any, lists_of: Lists
    ) -> None:
        champion = version(1, GOOD, served)
        rolled_back = version(2, GOOD, "one", **{ROLLED_BACK_TAG: "2026-03-15T08:00:00+00:00"})
        challenger = version(3, GOOD, recipe, days)
        registry = FakeEvaluations(lists_of(GOOD, DAYS), [challenger, rolled_back, champion])
        decision = decide(champion, challenger, registry, today)
        assert decision.promote is promoted
        same = "recipe and data" if days == DAYS else "recipe"
        assert promoted or decision.reasons[-1].endswith(
            f"; version 2, with the same {same}, was rolled back on 2026-03-15, so the challenger must be better than "
            "the champion, or a person must promote it by number"
        )

    def test_it_is_promoted_again_if_it_is_better_than_the_champion(self, today: Any, lists_of: Lists) -> None:
        champion = version(1, POOR, "other")
        rolled_back = version(2, GOOD, "one", **{ROLLED_BACK_TAG: "2026-03-15T08:00:00+00:00"})
        registry = FakeEvaluations(lists_of(POOR, DAYS), [rolled_back, champion])
        assert decide(champion, version(3, GOOD, "one"), registry, today).promote


class FakeRegistry:
    """The part of a registry that a release uses: the champion and its pointer; it records what is written."""

    def __init__(
        self, champion: Version | None = None, pinned: bool = False, record: dict[str, Any] | None = None
    ) -> None:
        self.champion_version, self.pinned, self.record = champion, pinned, record
        self.promoted: list[tuple[str, int, dict[str, Any]]] = []
        self.tags: list[tuple[int, dict[str, str]]] = []

    def pointer(self, _: str) -> Any:
        return self.champion_version and SimpleNamespace(version=self.champion_version.number, pinned=self.pinned)

    def champion(self, _: str) -> Version | None:
        return self.champion_version

    def version(self, _: str, number: int) -> Version:
        tags = {} if self.record is None else {RECORD_TAG: json.dumps(self.record)}
        return version(number, GOOD, "one", **tags)

    def promote(self, dataset: str, number: int, record: dict[str, Any]) -> Version:
        self.promoted.append((dataset, number, record))
        return version(number, GOOD, "one")

    def set_tags(self, of: Version, tags: dict[str, str]) -> None:
        self.tags.append((of.number, tags))


def released(registry: FakeRegistry, promote: bool) -> tuple[int, bool, tuple[str, ...]]:
    """Releases version 2: the number of the version that serves then, whether it is version 2, and why."""
    decision = Decision(promote, ("because",), {"promote": promote, "reasons": ["because"]})
    serves, is_new, why = challenger.release(registry, version(2, GOOD, "two"), decision)  # type: ignore[arg-type]
    return serves.number, is_new, why


@pytest.mark.parametrize("champion", [None, version(1, GOOD, "one")])
def test_a_version_that_passed_the_gate_serves_and_one_that_did_not_is_recorded(champion: Version | None) -> None:
    registry = FakeRegistry(champion)
    assert released(registry, True) == (2, True, ("because",))
    assert registry.promoted == [("toy", 2, {"promote": True, "reasons": ["because"]})]
    assert not registry.tags
    registry = FakeRegistry(champion)
    assert released(registry, False) == (1 if champion else 2, False, ("because",))
    assert not registry.promoted
    ((number, tags),) = registry.tags
    assert number == 2
    assert json.loads(tags[RECORD_TAG]) == {"promote": False, "reasons": ["because"], "pinned": False}


def test_a_pinned_version_is_not_replaced_and_the_record_states_it() -> None:
    registry = FakeRegistry(version(1, GOOD, "one"), pinned=True)
    why = ("because", "version 1 is pinned; run `tradewind release unpin` to let other versions replace it")
    assert released(registry, True) == (1, False, why)
    assert not registry.promoted
    assert json.loads(registry.tags[0][1][RECORD_TAG]) == {"promote": True, "reasons": [*why], "pinned": True}


def test_a_version_that_did_not_pass_is_promoted_only_with_a_reason() -> None:
    failed = {"promote": False, "reasons": ["worse", "older"]}
    for record, cause in ((failed, "worse; older"), (None, "the gate has not evaluated it")):
        registry = FakeRegistry(record=record)
        with pytest.raises(ReleaseError, match=f"version 3 of toy cannot be promoted: {cause}; --force REASON"):
            promote_evaluated(registry, "toy", 3)  # type: ignore[arg-type]
        assert not registry.promoted
        assert promote_evaluated(registry, "toy", 3, "I know better").number == 3  # type: ignore[arg-type]
        assert registry.promoted == [("toy", 3, {**(record or {}), "forced": "I know better"})]
    passed = FakeRegistry(record={"promote": True, "reasons": []})
    promote_evaluated(passed, "toy", 3)  # type: ignore[arg-type]
    assert passed.promoted == [("toy", 3, {"promote": True, "reasons": []})]
