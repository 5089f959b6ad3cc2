"""The release candidate: the better one on the validation window, whatever comes after it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.evaluation.window import question_of
from recommenders.splitting.temporal import split
from recommenders.storage import schema
from recommenders.training import selection
from recommenders.training.configuration import TrainingConfig
from recommenders.training.selection import choose

START = datetime(2026, 1, 1, tzinfo=UTC)
TIME_CUT, LATEST_OUT = Protocol(split="time_cut", test_days=10), Protocol(split="latest_out", repeat=False)
ABSENT = ("repurchase", "ease", "ials", "sasrec", "neural_collaborative")
OFF = {name: {"enabled": False} for name in ABSENT}
BLENDS = (
    {"model_weights": {"content_based": 1.0}},
    {"n_windows": 1, "trees": 5, "members": ("popularity", "content_based")},
)


def config(**models: Any) -> TrainingConfig:
    given = {"hybrid": BLENDS[0], "hybrid_learned": BLENDS[1], "collaborative_filtering": {}} | models
    return TrainingConfig.model_validate({"models": OFF | given})


def market(days: int = 70, n_users: int = 30) -> tuple[pa.Table, pa.Table]:
    """Users of one colour buy items of that colour."""
    rng = np.random.default_rng(3)
    visits = [
        (day, user, int(rng.integers(4))) for day in range(days) for user in range(n_users) if (day + user) % 5 == 0
    ]
    columns = {
        "user_id": [f"u{user:02}" for _, user, _ in visits],
        "item_id": [f"i{2 * item + user % 2}" for _, user, item in visits],
        "timestamp": pa.array([START + timedelta(days=day) for day, *_ in visits], schema.TIME),
        "event": ["purchase"] * len(visits),
        "weight": pa.array([1.0] * len(visits), pa.float32()),
    }
    items = pa.table({"item_id": [f"i{item}" for item in range(8)], "category": ["even", "odd"] * 4})
    return (
        schema.conform(pa.table(columns), schema.INTERACTIONS, "interactions"),
        schema.conform(items, schema.ITEMS, "items"),
    )


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets models have the given figures on the validation window; the lists are real, what they are worth is not."""

    def give(means: Mapping[str, float]) -> list[Any]:
        asked: list[Any] = []

        class Marked(selection.Question):  # type: ignore[misc]
            def lists(self, model: Any) -> Any:
                return model.name

            def ndcg(self, ranked: Any) -> Any:
                return np.full(len(self.case.user_ids), means[ranked])

        def question(*given: Any) -> Any:
            found = question_of(*given)
            asked.append(found)
            return Marked(found.log, found.features, found.case)

        monkeypatch.setattr(selection, "question_of", question)
        return asked

    return give


@pytest.mark.parametrize("better", ["hybrid", "hybrid_learned"])
def test_the_better_one_on_the_validation_window_is_chosen(better: str, judged: Any) -> None:
    means = {"hybrid": 0.3, "hybrid_learned": 0.3, better: 0.4}
    judged(means)
    choice = choose(config(), *market(), TIME_CUT)
    assert choice.candidate == better
    assert choice.means == pytest.approx(means)


@pytest.mark.parametrize("protocol", [TIME_CUT, LATEST_OUT])
def test_the_test_window_has_no_say(protocol: Protocol) -> None:
    """Whatever happens in the test window, the choice and its figures are the same."""
    interactions, items = market()
    parts = split(interactions, protocol)
    turned = pc.if_else(pc.equal(parts["part"], "test"), "i0", interactions["item_id"])
    place = interactions.schema.get_field_index("item_id")
    other = interactions.set_column(place, interactions.schema.field(place), turned)
    first, second = (choose(config(), table, items, protocol) for table in (interactions, other))
    assert first.means == second.means
    assert set(first.means) == {"hybrid", "hybrid_learned"}


def test_both_are_fitted_on_what_lies_before_the_validation_window(judged: Any) -> None:
    interactions, items = market()
    asked = judged({"hybrid": 0.1, "hybrid_learned": 0.2})
    choose(config(), interactions, items, TIME_CUT)
    (question,) = asked
    assert question.log.last_event <= START + timedelta(days=69 - 2 * TIME_CUT.test_days)


def test_an_earlier_choice_holds_for_its_recipe_and_nearly_its_log(judged: Any) -> None:
    judged({"hybrid": 0.4, "hybrid_learned": 0.3})
    interactions, items = market()
    earlier = choose(config(), interactions, items, TIME_CUT)
    judged({"hybrid": 0.3, "hybrid_learned": 0.4})
    grown = market(days=75)[0]

    def again(settings: TrainingConfig, table: pa.Table, protocol: Protocol = TIME_CUT) -> str:
        return choose(settings, table, items, protocol, earlier).candidate

    assert again(config(), grown) == "hybrid"
    assert again(config(), market(days=90)[0]) == "hybrid_learned"
    assert again(config(content_based={"max_neighbours": 3}), grown) == "hybrid_learned"
    assert again(config(), grown, Protocol(split="time_cut", test_days=12)) == "hybrid_learned"


def test_nothing_is_fitted_where_there_is_nothing_to_choose_or_nothing_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "fit_recipe", lambda *_, **__: pytest.fail("it fits"))
    interactions, items = market()
    alone = choose(config(hybrid_learned={"enabled": False}), interactions, items, TIME_CUT)
    assert (alone.candidate, alone.how) == ("hybrid", "the only one that is enabled")
    first = choose(config(), interactions, items, TIME_CUT, first=True)
    assert first.candidate == "hybrid_learned"
    short = choose(config(), market(days=15)[0], items, TIME_CUT)
    assert (short.candidate, dict(short.means)) == ("hybrid_learned", {})
    assert "there is no validation window" in short.how


def test_a_choice_that_compared_nothing_does_not_hold(judged: Any) -> None:
    interactions, items = market()
    first = choose(config(), interactions, items, TIME_CUT, first=True)
    judged({"hybrid": 0.4, "hybrid_learned": 0.3})
    assert choose(config(), interactions, items, TIME_CUT, first).candidate == "hybrid"
