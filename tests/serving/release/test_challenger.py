"""The challenger beside what serves: asked what that was asked, on the window that it was judged on."""

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
from recommenders.evaluation.window import Question, question_of
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import fit_one
from serving.release import challenger
from serving.release.challenger import Market, judge, judged_again, promote_judged, stored_lists
from serving.release.gate import Decision
from serving.release.versions import RECORD_TAG, ROLLED_BACK_TAG, Version

N_USERS, DAYS = 60, 70
START = datetime(2026, 1, 1, tzinfo=UTC)
PROTOCOL = Protocol(split="time_cut", test_days=10)
Lists = Callable[[str, int], pa.Table]
CONFIG = TrainingConfig.model_validate({"evaluation": {"n_bootstrap": 100}})
GOOD, POOR = "collaborative_filtering", "popularity"


Asked = Callable[[int], tuple[Market, Question, Report]]


@pytest.fixture(scope="module")
def asked(weekly: Callable[[int], tuple[pa.Table, pa.Table]]) -> Asked:
    """The market of so many days, its test window, and what two models reach there."""
    return lambda days: asked_of(Market(*weekly(days), PROTOCOL))


def asked_of(market: Market) -> tuple[Market, Question, Report]:
    question = question_of(market.interactions, market.items, PROTOCOL)
    models = {name: fit_one(name, CONFIG, question.log, question.features) for name in (GOOD, POOR)}
    report = evaluate(models, question.case, question.features, config=EvaluationConfig(n_bootstrap=100))
    return market, question, report


@pytest.fixture(scope="module")
def today(asked: Asked) -> tuple[Market, Question, Report]:
    return asked(DAYS)


@pytest.fixture(scope="module")
def lists_of(asked: Asked) -> Callable[[str, int], pa.Table]:
    """What a version stored that was judged on a log of so many days."""

    def stored(model: str, days: int) -> pa.Table:
        _, question, _ = asked(days)
        return stored_lists(question.lists(fit_one(model, CONFIG, question.log, question.features)), question)

    return stored


class Shelf:
    """A registry's part in a judgement: versions, and the lists that one of them was judged by."""

    def __init__(self, lists: pa.Table | None = None, versions: Sequence[Version] = ()) -> None:
        self._lists, self._versions = lists, versions

    def versions(self, _: str) -> Sequence[Version]:
        return self._versions

    def judged_lists(self, _: Version) -> pa.Table:
        if self._lists is None:
            raise ReleaseError("the lists are gone")
        return self._lists


def version(number: int, model: str, recipe: str, days: int = DAYS, **tags: str) -> Version:
    """Of a log of so many days."""
    last = (START + timedelta(days=days - 1)).replace(tzinfo=None).isoformat(timespec="microseconds")
    known = {"recipe": recipe, "data_version": f"of {days} days", "trained_until": last}
    known |= {"protocol": PROTOCOL.describe(), **tags}
    return Version("toy", number, "run", model, (), START, known)


def decided(live: Version, challenger: Version, shelf: Shelf, today: Any, **market: Any) -> Decision:
    found, _, report = today
    return judge(shelf, live, challenger, report, replace(found, **market), CONFIG)  # type: ignore[arg-type]


def test_lists_that_were_stored_are_judged_as_they_were(today: Any) -> None:
    _, question, report = today
    for name in (GOOD, POOR):
        lists = question.lists(fit_one(name, CONFIG, question.log, question.features))
        stored = stored_lists(lists, question)
        assert np.array_equal(judged_again(stored, question), report.vectors("ndcg@10")[name])
        some = judged_again(stored.slice(0, 7), question)
        assert np.isnan(some[7:]).all()
        assert np.array_equal(some[:7], report.vectors("ndcg@10")[name][:7])


def test_on_the_same_data_the_reports_own_values_are_compared_and_nothing_is_fitted(
    today: Any, lists_of: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenger, "fit_one", lambda *_: pytest.fail("it fits"))
    record = decided(version(1, GOOD, "old"), version(2, POOR, "new"), Shelf(lists_of(GOOD, DAYS)), today).record
    vectors = today[2].vectors("ndcg@10")
    assert record["versus_champion"]["difference"] == pytest.approx(np.mean(vectors[POOR] - vectors[GOOD]))
    assert not record["promote"]
    assert "popularity may be worse than version 1" in record["reasons"][0]


def test_on_newer_data_the_challenger_is_fitted_before_the_champions_cut(
    today: Any, lists_of: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fit(name: str, config: TrainingConfig, log: Any, features: Any) -> Any:
        seen.append(log.last_event)
        return fit_one(name, config, log, features)

    monkeypatch.setattr(challenger, "fit_one", fit)
    live, shelf = version(1, GOOD, "old", days=56), Shelf(lists_of(GOOD, 56))
    for name, promoted in ((GOOD, True), (POOR, False)):
        decision = decided(live, version(2, name, "new"), shelf, today)
        assert decision.promote is promoted
        assert decision.record["versus_champion"]["users"] == N_USERS
    assert seen == [START + timedelta(days=56 - 1 - PROTOCOL.test_days)] * 2
    assert "2026-02-15" in decision.record["versus_champion"]["window"]


def test_a_short_list_is_judged_as_it_is_and_not_filled_up(today: Any) -> None:
    _, question, _ = today
    lists = question.lists(fit_one(GOOD, CONFIG, question.log, question.features))
    lists[:, 1:] = -1
    stored = stored_lists(lists, question)
    assert {len(items) for items in stored["item_ids"].to_pylist()} == {1}
    assert np.array_equal(judged_again(stored, question), question.ndcg(lists))
    # a list of items that were taken from the data since is there and worth nothing
    nothing = stored.set_column(1, "item_ids", pa.array([[]] * stored.num_rows, pa.list_(pa.string())))
    assert (judged_again(nothing, question) == 0).all()


def test_versions_that_do_not_say_their_recipe_are_compared(today: Any, lists_of: Lists) -> None:
    live, challenger = (version(number, GOOD, "") for number in (1, 2))
    assert decided(live, challenger, Shelf(lists_of(GOOD, DAYS)), today).record["versus_champion"]
    unknown = version(1, GOOD, "one", data_version="")
    found = decided(unknown, version(2, GOOD, "one"), Shelf(), today)
    assert found.reasons[-1].endswith("the same recipe and code on other data, so there is nothing to compare")


@pytest.mark.parametrize(("days", "data"), [(DAYS, "the same data"), (56, "other data")])
def test_the_same_recipe_and_code_is_not_called_not_worse(days: int, data: str, today: Any) -> None:
    decision = decided(version(1, GOOD, "one", days), version(2, GOOD, "one"), Shelf(), today)
    assert decision.promote
    assert decision.reasons[-1].endswith(f"the same recipe and code on {data}, so there is nothing to compare")
    assert decision.record["versus_champion"] == {}


@pytest.mark.parametrize(
    ("lists", "tags", "cause"),
    [
        (None, {}, "the lists are gone"),
        (pa.table({"user_id": ["u00"], "item_ids": [["i01"]]}), {"protocol": "last 3 days"}, "another protocol"),
        (pa.table({"user_id": ["someone"], "item_ids": [["i01"]]}), {}, "none of the users"),
    ],
)
def test_a_champion_that_cannot_be_compared_is_not_compared_and_the_record_says_why(
    lists: pa.Table | None, tags: dict[str, str], cause: str, today: Any
) -> None:
    decision = decided(version(1, GOOD, "old", **tags), version(2, GOOD, "new"), Shelf(lists), today)
    assert decision.promote
    assert cause in decision.reasons[-1]
    assert decision.record["versus_champion"] == {}
    json.dumps(decision.record, allow_nan=False)


def test_data_that_ends_earlier_is_held_unless_a_person_went_back_to_it(today: Any) -> None:
    live, challenger = version(1, GOOD, "one", days=DAYS + 5), version(2, GOOD, "one")
    held = decided(live, challenger, Shelf(), today)
    assert not held.promote
    assert held.reasons[0] == "its data ends 2026-03-11T00:00:00, before that of version 1, 2026-03-16T00:00:00"
    for tags in ({"trained_until": ""}, {"trained_until": "2026-03-16T00:00:00.000000"}):
        assert decided(live, version(2, GOOD, "one", **tags), Shelf(), today).promote  # not known, or as new
    other = decided(live, version(2, GOOD, "new"), Shelf(pa.table({"user_id": ["u00"], "item_ids": [["i01"]]})), today)
    assert "the data at hand ends before" in other.reasons[-1]
    assert other.record["versus_champion"] == {}
    assert decided(live, challenger, Shelf(), today, restored=True).promote


class TestRolledBack:
    """Version 2 was rolled back, version 1 serves again, version 3 is the next retraining."""

    @pytest.mark.parametrize(
        ("served", "recipe", "days", "promoted"),
        [
            ("one", "one", DAYS, False),  # the very same again
            ("other", "one", DAYS, False),  # the same again, and no better than what serves
            ("other", "one", DAYS + 7, False),  # the recipe that was rolled back, on newer data
            ("one", "one", DAYS + 7, True),  # the recipe that serves, on newer data
            ("one", "new", DAYS, True),  # another recipe
        ],
    )
    def test_a_retraining_does_not_bring_it_back(
        self, served: str, recipe: str, days: int, promoted: bool, today: Any, lists_of: Lists
    ) -> None:
        live = version(1, GOOD, served)
        rolled_back = version(2, GOOD, "one", **{ROLLED_BACK_TAG: "2026-03-15T08:00:00+00:00"})
        challenger = version(3, GOOD, recipe, days)
        shelf = Shelf(lists_of(GOOD, DAYS), [challenger, rolled_back, live])
        decision = decided(live, challenger, shelf, today)
        assert decision.promote is promoted
        same = "recipe and data" if days == DAYS else "recipe"
        assert promoted or decision.reasons[-1].endswith(
            f"; version 2, of the same {same}, was rolled back on 2026-03-15, so it must beat what serves or be "
            "promoted by number"
        )

    def test_it_comes_back_where_it_beats_what_serves(self, today: Any, lists_of: Lists) -> None:
        live = version(1, POOR, "other")
        rolled_back = version(2, GOOD, "one", **{ROLLED_BACK_TAG: "2026-03-15T08:00:00+00:00"})
        shelf = Shelf(lists_of(POOR, DAYS), [rolled_back, live])
        assert decided(live, version(3, GOOD, "one"), shelf, today).promote


class Desk:
    """A registry's part in a release: what serves, which pointer says so, and what is written."""

    def __init__(self, live: Version | None = None, pinned: bool = False, record: dict[str, Any] | None = None) -> None:
        self.live, self.pinned, self.record = live, pinned, record
        self.promoted: list[tuple[str, int, dict[str, Any]]] = []
        self.tags: list[tuple[int, dict[str, str]]] = []

    def pointer(self, _: str) -> Any:
        return self.live and SimpleNamespace(version=self.live.number, pinned=self.pinned)

    def champion(self, _: str) -> Version | None:
        return self.live

    def version(self, _: str, number: int) -> Version:
        tags = {} if self.record is None else {RECORD_TAG: json.dumps(self.record)}
        return version(number, GOOD, "one", **tags)

    def promote(self, dataset: str, number: int, record: dict[str, Any]) -> Version:
        self.promoted.append((dataset, number, record))
        return version(number, GOOD, "one")

    def set_tags(self, of: Version, tags: dict[str, str]) -> None:
        self.tags.append((of.number, tags))


def released(desk: Desk, promote: bool) -> tuple[int, bool, tuple[str, ...]]:
    """The number of the version that serves after version 2 was judged, whether it is that one, and why."""
    decision = Decision(promote, ("because",), {"promote": promote, "reasons": ["because"]})
    serves, is_new, why = challenger.release(desk, version(2, GOOD, "two"), decision)  # type: ignore[arg-type]
    return serves.number, is_new, why


@pytest.mark.parametrize("live", [None, version(1, GOOD, "one")])
def test_what_the_gate_lets_pass_serves_and_what_it_holds_is_recorded(live: Version | None) -> None:
    desk = Desk(live)
    assert released(desk, True) == (2, True, ("because",))
    assert desk.promoted == [("toy", 2, {"promote": True, "reasons": ["because"]})]
    assert not desk.tags
    desk = Desk(live)
    assert released(desk, False) == (1 if live else 2, False, ("because",))
    assert not desk.promoted
    ((number, tags),) = desk.tags
    assert number == 2
    assert json.loads(tags[RECORD_TAG]) == {"promote": False, "reasons": ["because"], "pinned": False}


def test_a_pinned_version_serves_on_and_the_record_says_so() -> None:
    desk = Desk(version(1, GOOD, "one"), pinned=True)
    why = ("because", "version 1 is pinned; tradewind release unpin lets others replace it")
    assert released(desk, True) == (1, False, why)
    assert not desk.promoted
    assert json.loads(desk.tags[0][1][RECORD_TAG]) == {"promote": True, "reasons": [*why], "pinned": True}


def test_a_version_that_was_held_is_promoted_with_a_reason_alone() -> None:
    held = {"promote": False, "reasons": ["worse", "older"]}
    for record, cause in ((held, "worse; older"), (None, "the gate never judged it")):
        desk = Desk(record=record)
        with pytest.raises(ReleaseError, match=f"version 3 of toy may not be promoted: {cause}; --force REASON"):
            promote_judged(desk, "toy", 3)  # type: ignore[arg-type]
        assert not desk.promoted
        assert promote_judged(desk, "toy", 3, "I know better").number == 3  # type: ignore[arg-type]
        assert desk.promoted == [("toy", 3, {**(record or {}), "forced": "I know better"})]
    passed = Desk(record={"promote": True, "reasons": []})
    promote_judged(passed, "toy", 3)  # type: ignore[arg-type]
    assert passed.promoted == [("toy", 3, {"promote": True, "reasons": []})]
