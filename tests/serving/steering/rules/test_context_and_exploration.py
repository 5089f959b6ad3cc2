"""Rules that ask for the context of a request, and exploration, through the application: answered, stored, replayed."""

import json
import time
from typing import Any

import pytest

from serving.endpoints.list_making import make_at
from serving.replay import replay
from serving.steering.catalogue.files import read, record_file
from serving.steering.rules.files import kept
from serving.web.predict_request import PredictRequest

PAINT = {102, 104, 106, 108, 110, 112}  # 112 has no category


@pytest.mark.parametrize(
    ("when", "active", "inactive"),
    [
        ('context.channel == "app"', [{"channel": "app"}], [{}, {"channel": "web"}, {"channel": 5}, {"chanel": "app"}]),
        ('context.channel != "app"', [{"channel": "web"}, {"channel": 5}], [{}, {"channel": "app"}]),
        ('!(context.channel == "app")', [{"channel": "web"}], [{}, {"channel": "app"}]),
        ("context.age > 17.5", [{"age": 18}, {"age": 18.5}], [{}, {"age": 17}, {"age": "18"}, {"age": True}]),
        ("context.age == 5.0", [{"age": 5}, {"age": 5.0}], [{"age": "5"}, {}]),
        ("context.is_app", [{"is_app": True}], [{"is_app": False}, {"is_app": "true"}, {"is_app": 1}, {}]),
        ('"channel" in context', [{"channel": ""}], [{}, {"channels": "app"}]),
        ('!("channel" in context) || context.channel == "app"', [{}, {"channel": "app"}], [{"channel": "web"}]),
        ('context.channel == "app" || request.n > 50', [{"channel": "app"}, {}, {"channel": 5}], []),
        ('user.segment == "cafe" && context.country in ["DE", "AT"]', [], [{"country": "DE"}]),  # of another user
    ],
)
def test_a_rule_can_ask_for_the_context_of_the_request(
    shop: Any, when: str, active: list[dict[str, Any]], inactive: list[dict[str, Any]]
) -> None:
    rule = {"name": "no-tools", "when": when, "action": "exclude", "items": 'item.category == "Tools"'}
    worker = shop.worker(json.dumps({"rules": [rule]}))
    assert worker.rules_problem == ""
    for context in active:
        assert shop.listed(worker, context=context) == PAINT, context
    for context in inactive:
        assert len(shop.listed(worker, context=context)) == 12, context


def test_a_context_is_stored_with_the_answer_and_replayed(shop: Any, feedback: Any) -> None:
    rule = {"name": "top", "when": "context.slot > 1.0", "action": "pin", "slot": 2, "items": 'item.id == "107"'}
    worker = shop.worker(json.dumps({"rules": [rule]}))
    store = feedback(worker, shop)
    asked = [{"user_id": 3, "context": {"slot": 2}}, {"user_id": 3, "context": {"slot": 1}}]
    answers = [shop.call(worker, "POST", "/predict", **one).json() for one in asked]
    answers += shop.call(worker, "POST", "/predict/batch", requests=asked).json()["answers"]
    assert [answer["items"][1]["item_id"] == 107 for answer in answers] == [True, False] * 2
    for answer in answers:
        shop.until(lambda answer=answer: store.answer(answer["request_id"]) is not None)
        stored = store.answer(answer["request_id"])
        assert "slot" in stored.request
        catalogue = read(record_file(shop.settings.pointer), stored.catalogue)
        assert replay(stored, worker.champion.predictor, catalogue, kept(shop.folder, stored.rules)).equal  # type: ignore[union-attr]


EXPLORED = "exploration: {share: 0.5, depth: 12, scenes: [for_you, discover]}"


def test_exploration_is_off_by_default_and_follows_the_file(shop: Any) -> None:
    worker = shop.worker("rules: []")
    plain = shop.items(worker, n_recommendations=4)
    assert not any("propensity" in item for item in plain)
    shop.change(worker, EXPLORED)
    version = shop.call(worker, "GET", "/health").json()["rules"]
    assert [path.stem for path in shop.folder.iterdir()] == [version]
    lists = [shop.items(worker, n_recommendations=4) for _ in range(40)]
    assert len({tuple(item["item_id"] for item in found) for found in lists}) > 10
    own = [item["item_id"] for item in plain]
    for found in lists:
        assert found[0] == plain[0]
        for place, item in enumerate(found[1:], 1):
            assert item["propensity"] == (0.5 if item["item_id"] == own[place] else 0.5 / 8)
    for more in ({"scene": "basket"}, {"n_recommendations": 12}, {"n_recommendations": 1}, {"explain": True}):
        asked = {"n_recommendations": 4, **more}
        found = [shop.items(worker, **asked) for _ in range(5)]
        assert all(one == found[0] for one in found)
        assert not any("propensity" in item for item in found[0])
    champion = worker.champion
    assert champion
    asked = PredictRequest(user_id=3, n_recommendations=4)
    of_batch = make_at(champion, asked, "", "", (), time.time_ns() // 1000)  # a list that no request asks for
    assert of_batch.items == plain
    shop.change(worker, "rules: []")
    assert shop.items(worker, n_recommendations=4) == plain


def test_an_explored_list_is_repeated_by_the_id_of_its_request(shop: Any, feedback: Any) -> None:
    rules = {"rules": [{"name": "top", "action": "pin", "slot": 2, "items": 'item.id == "107"'}]}
    worker = shop.worker(json.dumps(rules | {"exploration": {"share": 0.4, "depth": 10}}))
    store = feedback(worker, shop)
    asked = [{"user_id": user, "n_recommendations": 5, "diversity": 0.3 * (user % 2)} for user in range(1, 7)]
    answers = [shop.call(worker, "POST", "/predict", **one).json() for one in asked]
    answers += shop.call(worker, "POST", "/predict/batch", requests=asked).json()["answers"]
    assert len({answer["request_id"] for answer in answers}) == 12
    for answer in answers:
        assert [item["item_id"] == 107 for item in answer["items"]] == [False, True, False, False, False]
        assert ["propensity" in item for item in answer["items"]] == [False, False, True, True, True]
        shop.until(lambda answer=answer: store.answer(answer["request_id"]) is not None)
        stored = store.answer(answer["request_id"])
        assert stored.items == answer["items"]  # with the propensities
        made_from = (worker.champion.predictor, read(record_file(shop.settings.pointer), stored.catalogue))  # type: ignore[union-attr]
        assert replay(stored, *made_from, kept(shop.folder, stored.rules)).equal
    drawn = [item for answer in answers for item in answer["items"] if item.get("propensity", 1) < 0.4]
    assert drawn
    same = [shop.call(worker, "POST", "/predict", headers={"x-request-id": "a"}, **asked[0]).json() for _ in range(2)]
    assert same[0]["items"] == same[1]["items"]
