"""Rules through the application: loaded beside a champion, reloaded, refused, counted, stored and replayed."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.champion.watcher import ChampionWatcher
from serving.endpoints.application import build
from serving.endpoints.list_making import make_at
from serving.endpoints.worker import Worker
from serving.feedback.feedback import Feedback
from serving.feedback.store import FeedbackStore
from serving.replay import replay
from serving.steering.catalogue.files import arrays_file, read, record_file
from serving.steering.rules import current
from serving.steering.rules.bound import BoundRules
from serving.steering.rules.combinations import ItemTable
from serving.steering.rules.files import MAX_EARLIER, keep, kept, rules_folder
from serving.steering.rules.model import Rules, RulesError, parse
from serving.web.predict_request import PredictRequest

NO_TOOLS = 'rules: [{name: no-tools, action: exclude, items: item.category == "Tools"}]'
PAINT = {102, 104, 106, 108, 110, 112}  # 112 has no category


class Shop:
    """The toy market with a catalogue and a file of rules."""

    def __init__(self, market: Any, home: Path) -> None:
        self.settings, self.file = market.settings(home), home / "rules.yaml"
        self.market, self.folder = market, rules_folder(self.settings.pointer)
        market.release(self.settings, 1, 0)
        market.catalogue(self.settings)

    def worker(self, text: str | None = None, required: bool = True) -> Worker:
        if text is not None:
            self.file.write_text(text)
        worker = Worker()
        worker.watcher = ChampionWatcher(self.settings.pointer, rules_file=self.file, rules_required=required)
        worker.watcher.poll()
        return worker

    def change(self, worker: Worker, text: str) -> None:
        staging = self.file.with_suffix(".new")
        staging.write_text(text)
        staging.replace(self.file)
        assert worker.watcher
        worker.watcher.poll()


@pytest.fixture
def shop(market: Any, tmp_path: Path) -> Shop:
    return Shop(market, tmp_path)


def call(
    worker: Worker, method: str, path: str, headers: dict[str, str] | None = None, **content: Any
) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, json=content or None, headers=headers)

    return asyncio.run(send())


def items(worker: Worker, **fields: Any) -> list[dict[str, Any]]:
    answer = call(worker, "POST", "/predict", **{"user_id": 3, "n_recommendations": 100, **fields})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def listed(worker: Worker, **fields: Any) -> set[int]:
    return {item["item_id"] for item in items(worker, **fields)}


def test_lists_follow_the_file_and_health_names_its_version(shop: Shop) -> None:
    worker = shop.worker(NO_TOOLS)
    assert listed(worker) == PAINT
    version = call(worker, "GET", "/health").json()["rules"]
    assert [path.stem for path in shop.folder.iterdir()] == [version]
    shop.change(worker, 'rules: [{name: top, action: pin, slot: 1, items: item.id == "107"}]')
    found = items(worker)
    assert (found[0]["item_id"], found[0]["rules"]) == (107, ["top"])
    assert "rules" not in found[1]
    shop.change(worker, "rules: []")
    assert len(listed(worker)) == 12
    assert "rules" not in call(worker, "GET", "/health").json()


def test_without_rules_and_with_inactive_rules_the_answers_are_the_same(shop: Shop, tmp_path: Path) -> None:
    plain = shop.worker(required=False)
    assert call(plain, "GET", "/health").json().get("rules_problem") is None
    ruled = shop.worker('rules: [{name: a, when: request.n > 50, action: exclude, items: "true"}]')
    for fields in ({}, {"scene": "reorder"}, {"history": [105]}, {"filters": {"category": "Paint"}}):
        assert items(plain, n_recommendations=5, **fields) == items(ruled, n_recommendations=5, **fields)


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("rules: [", "is not YAML"),
        ("rules: [{name: a, action: exclude}]", "rule a items: got nothing"),
        (
            "rules: [{name: a, action: exclude, items: item.prise < 2.0}]",
            "item.prise is not known; allowed: item.brand",
        ),
        ("rules: [{name: a, action: exclude, items: item.prise < 2.0}]", "did you mean item.price?"),
        ("rules: [{name: a, action: exclude, items: item.price < 2}]", "numbers with a decimal point, as 20.0"),
        ("rules: [{name: a, action: exclude, items: item.price}]", "which is a double; allowed: an expression that is"),
        ("rules: [{name: a, action: exclude, items: now == now}]", "now is not known"),
        ("rules: [{name: a, when: item.price < 2.0, action: exclude, items: 'true'}]", "rule a when: got"),
        ("rules: [{name: a, action: limit, attribute: brnd, at_most: 1}]", "did you mean brand?"),
        ("rules: [{name: a, action: exclude, items: 'item.price <'}]", "Syntax error"),
        ("rules: [{name: a, action: exclude, items: context.a}]", "context.a is not known"),
        (
            "rules: [{name: a, when: context, action: exclude, items: 'true'}]",
            "which is a map<string, dyn>; allowed: an",
        ),
    ],
)
def test_a_bad_file_is_refused_and_the_old_rules_stay(shop: Shop, text: str, reported: str) -> None:
    worker = shop.worker(NO_TOOLS)
    shop.change(worker, text)
    assert listed(worker) == PAINT
    problem = call(worker, "GET", "/health").json()["rules_problem"]
    assert reported in problem
    assert "\n" not in problem
    restarted = shop.worker()  # no rules of this process are there yet: those that served last are
    assert listed(restarted) == PAINT
    assert reported in call(restarted, "GET", "/health").json()["rules_problem"]
    shop.change(worker, "rules: []")
    assert len(listed(worker)) == 12
    assert "rules_problem" not in call(worker, "GET", "/health").json()


def test_a_missing_file_is_a_problem_only_where_one_is_named_or_was_read(shop: Shop) -> None:
    assert "does not exist" in shop.worker().rules_problem
    worker = shop.worker(required=False)
    assert worker.rules_problem == ""
    shop.change(worker, NO_TOOLS)
    assert listed(worker) == PAINT
    shop.file.unlink()
    assert worker.watcher
    worker.watcher.poll()
    assert "does not exist" in worker.rules_problem
    assert listed(worker) == PAINT


def test_a_refused_file_is_read_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    monkeypatch.setattr(current, "read", lambda path: reads.append(path) or parse({"rules": 5}, "f"))
    worker = shop.worker("rules: []")
    assert worker.watcher
    worker.watcher.poll()
    assert len(reads) == 1
    monkeypatch.setattr(current.time, "monotonic", lambda: 1e12)
    worker.watcher.poll()
    assert len(reads) == 2


def test_a_catalogue_that_the_rules_do_not_fit_is_not_served(shop: Shop, market: Any) -> None:
    worker = shop.worker("rules: [{name: a, action: exclude, items: item.margin > 26.0}]")
    old = worker.catalogue
    expected = listed(worker)
    record = record_file(shop.settings.pointer)
    market.catalogue(shop.settings, 5.0)
    assert worker.watcher
    worker.watcher.catalogue.poll()
    newest = worker.watcher.catalogue.catalogue
    assert newest is not None
    del newest.items.columns["margin"]  # type: ignore[attr-defined]
    worker.watcher.poll()
    assert worker.catalogue is old
    assert listed(worker) == expected
    assert "item.margin is not known" in worker.rules_problem
    assert arrays_file(record, newest.version).is_file()


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
    shop: Shop, when: str, active: list[dict[str, Any]], inactive: list[dict[str, Any]]
) -> None:
    rule = {"name": "no-tools", "when": when, "action": "exclude", "items": 'item.category == "Tools"'}
    worker = shop.worker(json.dumps({"rules": [rule]}))
    assert worker.rules_problem == ""
    for context in active:
        assert listed(worker, context=context) == PAINT, context
    for context in inactive:
        assert len(listed(worker, context=context)) == 12, context


def test_a_context_is_stored_with_the_answer_and_replayed(shop: Shop, feedback: Any) -> None:
    rule = {"name": "top", "when": "context.slot > 1.0", "action": "pin", "slot": 2, "items": 'item.id == "107"'}
    worker = shop.worker(json.dumps({"rules": [rule]}))
    store = feedback(worker, shop)
    asked = [{"user_id": 3, "context": {"slot": 2}}, {"user_id": 3, "context": {"slot": 1}}]
    answers = [call(worker, "POST", "/predict", **one).json() for one in asked]
    answers += call(worker, "POST", "/predict/batch", requests=asked).json()["answers"]
    assert [answer["items"][1]["item_id"] == 107 for answer in answers] == [True, False] * 2
    for answer in answers:
        until(lambda answer=answer: store.answer(answer["request_id"]) is not None)
        stored = store.answer(answer["request_id"])
        assert "slot" in stored.request
        catalogue = read(record_file(shop.settings.pointer), stored.catalogue)
        assert replay(stored, worker.champion.predictor, catalogue, kept(shop.folder, stored.rules)).equal  # type: ignore[union-attr]


EXPLORED = "exploration: {share: 0.5, depth: 12, scenes: [for_you, discover]}"


def test_exploration_is_off_by_default_and_follows_the_file(shop: Shop) -> None:
    worker = shop.worker("rules: []")
    plain = items(worker, n_recommendations=4)
    assert not any("propensity" in item for item in plain)
    shop.change(worker, EXPLORED)
    version = call(worker, "GET", "/health").json()["rules"]
    assert [path.stem for path in shop.folder.iterdir()] == [version]
    lists = [items(worker, n_recommendations=4) for _ in range(40)]
    assert len({tuple(item["item_id"] for item in found) for found in lists}) > 10
    own = [item["item_id"] for item in plain]
    for found in lists:
        assert found[0] == plain[0]
        for place, item in enumerate(found[1:], 1):
            assert item["propensity"] == (0.5 if item["item_id"] == own[place] else 0.5 / 8)
    for more in ({"scene": "basket"}, {"n_recommendations": 12}, {"n_recommendations": 1}, {"explain": True}):
        asked = {"n_recommendations": 4, **more}
        found = [items(worker, **asked) for _ in range(5)]
        assert all(one == found[0] for one in found)
        assert not any("propensity" in item for item in found[0])
    champion = worker.champion
    assert champion
    asked = PredictRequest(user_id=3, n_recommendations=4)
    of_batch = make_at(champion, asked, "", "", (), time.time_ns() // 1000)  # a list that no request asks for
    assert of_batch.items == plain
    shop.change(worker, "rules: []")
    assert items(worker, n_recommendations=4) == plain


def test_an_explored_list_is_repeated_by_the_id_of_its_request(shop: Shop, feedback: Any) -> None:
    rules = {"rules": [{"name": "top", "action": "pin", "slot": 2, "items": 'item.id == "107"'}]}
    worker = shop.worker(json.dumps(rules | {"exploration": {"share": 0.4, "depth": 10}}))
    store = feedback(worker, shop)
    asked = [{"user_id": user, "n_recommendations": 5, "diversity": 0.3 * (user % 2)} for user in range(1, 7)]
    answers = [call(worker, "POST", "/predict", **one).json() for one in asked]
    answers += call(worker, "POST", "/predict/batch", requests=asked).json()["answers"]
    assert len({answer["request_id"] for answer in answers}) == 12
    for answer in answers:
        assert [item["item_id"] == 107 for item in answer["items"]] == [False, True, False, False, False]
        assert ["propensity" in item for item in answer["items"]] == [False, False, True, True, True]
        until(lambda answer=answer: store.answer(answer["request_id"]) is not None)
        stored = store.answer(answer["request_id"])
        assert stored.items == answer["items"]  # with the propensities
        made_from = (worker.champion.predictor, read(record_file(shop.settings.pointer), stored.catalogue))  # type: ignore[union-attr]
        assert replay(stored, *made_from, kept(shop.folder, stored.rules)).equal
    drawn = [item for answer in answers for item in answer["items"] if item.get("propensity", 1) < 0.4]
    assert drawn
    same = [call(worker, "POST", "/predict", headers={"x-request-id": "a"}, **asked[0]).json() for _ in range(2)]
    assert same[0]["items"] == same[1]["items"]


def test_effects_are_counted(shop: Shop) -> None:
    worker = shop.worker(NO_TOOLS)
    for _ in range(3):
        listed(worker)
    text = call(worker, "GET", "/metrics").text
    assert 'tradewind_rule_effects_total{effect="lists",rule="no-tools"} 3.0' in text
    assert 'tradewind_rule_effects_total{effect="items",rule="no-tools"} 18.0' in text


def test_an_answer_is_replayed_with_the_rules_that_made_it(shop: Shop, feedback: Any) -> None:
    worker = shop.worker("rules: [{name: top, action: pin, slot: 1, items: item.price < user_price()}]")
    assert "user_price" in worker.rules_problem
    shop.change(worker, 'rules: [{name: top, action: pin, slot: 2, items: item.id == "107"}]')
    store = feedback(worker, shop)
    made = call(worker, "POST", "/predict", user_id=3)
    shop.change(worker, NO_TOOLS)
    request_id = made.json()["request_id"]
    until(lambda: store.answer(request_id) is not None)
    answer = store.answer(request_id)
    catalogue = read(record_file(shop.settings.pointer), answer.catalogue)
    predictor = worker.champion.predictor  # type: ignore[union-attr]
    assert replay(answer, predictor, catalogue, kept(shop.folder, answer.rules)).equal
    assert not replay(answer, predictor, catalogue).equal


TOP = 'rules: [{name: top, action: pin, slot: 1, items: item.id == "107"}, {name: low, action: bury, items: "true"}]'


def test_a_batch_is_made_counted_and_stored_by_the_rules(shop: Shop, feedback: Any) -> None:
    worker = shop.worker(TOP)
    store = feedback(worker, shop)
    asked = [{"user_id": 3, "scene": "discover"}, {"user_id": 1, "n_recommendations": 2}]
    answers = call(worker, "POST", "/predict/batch", requests=asked).json()["answers"]
    assert [answer["items"] for answer in answers] == [
        items(worker, **{"n_recommendations": 10} | one) for one in asked
    ]
    assert answers[0]["items"][0]["rules"] == ["top"]
    until(lambda: store.answer(answers[1]["request_id"]) is not None)
    stored = store.answer(answers[1]["request_id"])
    assert [stored.rules] == [path.stem for path in shop.folder.iterdir()]
    assert 'tradewind_rule_effects_total{effect="lists",rule="top"} 4.0' in call(worker, "GET", "/metrics").text


@pytest.mark.parametrize("scene", ["for_you", "discover", "reorder"])
def test_reasons_are_those_of_the_list_by_the_rules(shop: Shop, scene: str) -> None:
    worker, plain = shop.worker(TOP), shop.worker("rules: []")
    asked = {"user_id": 3, "history": [107, 102, 104] if scene == "reorder" else [102], "scene": scene}
    scores = {item["item_id"]: item["reasons"]["score"] for item in items(plain, explain=True, **asked)}
    assert len(set(scores.values())) > 1
    explained = items(worker, explain=True, n_recommendations=3, **asked)
    assert explained[0]["item_id"] == 107
    assert [item["reasons"]["score"] for item in explained] == [scores[item["item_id"]] for item in explained]
    assert [item | {"reasons": None} for item in items(worker, n_recommendations=3, **asked)] == [
        item | {"reasons": None} for item in explained
    ]


def test_masks_of_a_user_are_made_once_for_equal_values(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    whole = ItemTable.matching
    monkeypatch.setattr(ItemTable, "matching", lambda self, *args: calls.append(args) or whole(self, *args))
    rule = {"name": "a", "action": "exclude", "items": 'user.segment == "cafe" && item.category == "Tools"'}
    worker = shop.worker("rules: []")
    champion = worker.champion
    assert champion
    bound = BoundRules(parse({"rules": [rule]}, "f"), champion.items, champion.predictor.model.items_)
    assert calls == []
    for user_id in ("1", "1", "2", "1", "9"):
        steering = bound.steering(user_id, "for_you", 5, 0)
        assert steering
        assert steering.active[0].items.any() == (user_id == "1")
    assert len(calls) == 2  # a cafe, and users without a segment


def test_versions_on_disk_are_checked_and_bounded(tmp_path: Path) -> None:
    rules = [parse({"rules": [{"name": f"r{n}", "action": "bury", "items": "true"}]}, "f") for n in range(60)]
    for each in rules:
        keep(tmp_path, each)
        time.sleep(0.002)  # a file system may count time in milliseconds
    assert len(list(tmp_path.iterdir())) == MAX_EARLIER + 1
    assert kept(tmp_path, rules[-1].version) == rules[-1]
    assert kept(tmp_path, "") == Rules()
    with pytest.raises(RulesError, match="only the newest 51 stay"):
        kept(tmp_path, rules[0].version)
    (tmp_path / f"{rules[-1].version}.json").write_text("{}")
    with pytest.raises(RulesError, match="were changed"):
        kept(tmp_path, rules[-1].version)


@pytest.fixture
def feedback() -> Iterator[Any]:
    opened: list[Feedback] = []

    def start(worker: Worker, shop: Shop) -> FeedbackStore:
        url = shop.settings.feedback_store
        found = Feedback(url, "toy", lambda: worker.champion, 30, worker.metrics.record_answers)
        worker.feedback = found
        opened.append(found)
        found.start()
        until(lambda: not found.problem)
        return FeedbackStore(url, "toy")

    yield start
    for each in opened:
        each.stop()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
