"""Rules through the application: loaded beside a champion, reloaded, refused, counted, stored and replayed."""

import time
from pathlib import Path
from typing import Any

import pytest

from serving.replay import replay
from serving.steering.catalogue.files import arrays_file, read, record_file
from serving.steering.rules import current
from serving.steering.rules.combinations import ItemTable
from serving.steering.rules.files import MAX_EARLIER, keep, kept
from serving.steering.rules.rule_types import Rules, RulesError, parse
from serving.steering.rules.rules_of_model import BoundRules

NO_TOOLS = 'rules: [{name: no-tools, action: exclude, items: item.category == "Tools"}]'
PAINT = {102, 104, 106, 108, 110, 112}  # 112 has no category


def test_lists_follow_the_file_and_health_names_its_version(shop: Any) -> None:
    worker = shop.worker(NO_TOOLS)
    assert shop.listed(worker) == PAINT
    version = shop.call(worker, "GET", "/health").json()["rules"]
    assert [path.stem for path in shop.folder.iterdir()] == [version]
    shop.change(worker, 'rules: [{name: top, action: pin, slot: 1, items: item.id == "107"}]')
    found = shop.items(worker)
    assert (found[0]["item_id"], found[0]["rules"]) == (107, ["top"])
    assert "rules" not in found[1]
    shop.change(worker, "rules: []")
    assert len(shop.listed(worker)) == 12
    assert "rules" not in shop.call(worker, "GET", "/health").json()


def test_without_rules_and_with_inactive_rules_the_answers_are_the_same(shop: Any, tmp_path: Path) -> None:
    plain = shop.worker(required=False)
    assert shop.call(plain, "GET", "/health").json().get("rules_problem") is None
    ruled = shop.worker('rules: [{name: a, when: request.n > 50, action: exclude, items: "true"}]')
    for fields in ({}, {"scene": "reorder"}, {"history": [105]}, {"filters": {"category": "Paint"}}):
        assert shop.items(plain, n_recommendations=5, **fields) == shop.items(ruled, n_recommendations=5, **fields)


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
def test_a_bad_file_is_refused_and_the_old_rules_stay(shop: Any, text: str, reported: str) -> None:
    worker = shop.worker(NO_TOOLS)
    shop.change(worker, text)
    assert shop.listed(worker) == PAINT
    problem = shop.call(worker, "GET", "/health").json()["rules_problem"]
    assert reported in problem
    assert "\n" not in problem
    restarted = shop.worker()  # no rules of this process are there yet: those that served last are
    assert shop.listed(restarted) == PAINT
    assert reported in shop.call(restarted, "GET", "/health").json()["rules_problem"]
    shop.change(worker, "rules: []")
    assert len(shop.listed(worker)) == 12
    assert "rules_problem" not in shop.call(worker, "GET", "/health").json()


def test_a_missing_file_is_a_problem_only_where_one_is_named_or_was_read(shop: Any) -> None:
    assert "does not exist" in shop.worker().rules_problem
    worker = shop.worker(required=False)
    assert worker.rules_problem == ""
    shop.change(worker, NO_TOOLS)
    assert shop.listed(worker) == PAINT
    shop.file.unlink()
    assert worker.watcher
    worker.watcher.poll()
    assert "does not exist" in worker.rules_problem
    assert shop.listed(worker) == PAINT


def test_a_refused_file_is_read_again(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    monkeypatch.setattr(current, "rules_in", lambda _, path: reads.append(path) or parse({"rules": 5}, "f"))
    worker = shop.worker("rules: []")
    assert worker.watcher
    worker.watcher.poll()
    assert len(reads) == 1
    monkeypatch.setattr(current.time, "monotonic", lambda: 1e12)
    worker.watcher.poll()
    assert len(reads) == 2


def test_a_catalogue_that_the_rules_do_not_fit_is_not_served(shop: Any, market: Any) -> None:
    worker = shop.worker("rules: [{name: a, action: exclude, items: item.margin > 26.0}]")
    old = worker.catalogue
    expected = shop.listed(worker)
    record = record_file(shop.settings.pointer)
    market.catalogue(shop.settings, 5.0)
    assert worker.watcher
    worker.watcher.catalogue.poll()
    newest = worker.watcher.catalogue.catalogue
    assert newest is not None
    del newest.items.columns["margin"]  # type: ignore[attr-defined]
    worker.watcher.poll()
    assert worker.catalogue is old
    assert shop.listed(worker) == expected
    assert "item.margin is not known" in worker.rules_problem
    assert arrays_file(record, newest.version).is_file()


def test_effects_are_counted(shop: Any) -> None:
    worker = shop.worker(NO_TOOLS)
    for _ in range(3):
        shop.listed(worker)
    text = shop.call(worker, "GET", "/metrics").text
    assert 'tradewind_rule_effects_total{effect="lists",rule="no-tools"} 3.0' in text
    assert 'tradewind_rule_effects_total{effect="items",rule="no-tools"} 18.0' in text


def test_an_answer_is_replayed_with_the_rules_that_made_it(shop: Any, feedback: Any) -> None:
    worker = shop.worker("rules: [{name: top, action: pin, slot: 1, items: item.price < user_price()}]")
    assert "user_price" in worker.rules_problem
    shop.change(worker, 'rules: [{name: top, action: pin, slot: 2, items: item.id == "107"}]')
    store = feedback(worker, shop)
    made = shop.call(worker, "POST", "/predict", user_id=3)
    shop.change(worker, NO_TOOLS)
    request_id = made.json()["request_id"]
    shop.until(lambda: store.answer(request_id) is not None)
    answer = store.answer(request_id)
    catalogue = read(record_file(shop.settings.pointer), answer.catalogue)
    predictor = worker.champion.predictor  # type: ignore[union-attr]
    assert replay(answer, predictor, catalogue, kept(shop.folder, answer.rules)).equal
    assert not replay(answer, predictor, catalogue).equal


TOP = 'rules: [{name: top, action: pin, slot: 1, items: item.id == "107"}, {name: low, action: bury, items: "true"}]'


def test_a_batch_is_made_counted_and_stored_by_the_rules(shop: Any, feedback: Any) -> None:
    worker = shop.worker(TOP)
    store = feedback(worker, shop)
    asked = [{"user_id": 3, "scene": "discover"}, {"user_id": 1, "n_recommendations": 2}]
    answers = shop.call(worker, "POST", "/predict/batch", requests=asked).json()["answers"]
    assert [answer["items"] for answer in answers] == [
        shop.items(worker, **{"n_recommendations": 10} | one) for one in asked
    ]
    assert answers[0]["items"][0]["rules"] == ["top"]
    shop.until(lambda: store.answer(answers[1]["request_id"]) is not None)
    stored = store.answer(answers[1]["request_id"])
    assert [stored.rules] == [path.stem for path in shop.folder.iterdir()]
    assert 'tradewind_rule_effects_total{effect="lists",rule="top"} 4.0' in shop.call(worker, "GET", "/metrics").text


@pytest.mark.parametrize("scene", ["for_you", "discover", "reorder"])
def test_reasons_are_those_of_the_list_by_the_rules(shop: Any, scene: str) -> None:
    worker, plain = shop.worker(TOP), shop.worker("rules: []")
    asked = {"user_id": 3, "history": [107, 102, 104] if scene == "reorder" else [102], "scene": scene}
    scores = {item["item_id"]: item["reasons"]["score"] for item in shop.items(plain, explain=True, **asked)}
    assert len(set(scores.values())) > 1
    explained = shop.items(worker, explain=True, n_recommendations=3, **asked)
    assert explained[0]["item_id"] == 107
    assert [item["reasons"]["score"] for item in explained] == [scores[item["item_id"]] for item in explained]
    assert [item | {"reasons": None} for item in shop.items(worker, n_recommendations=3, **asked)] == [
        item | {"reasons": None} for item in explained
    ]


def test_masks_of_a_user_are_made_once_for_equal_values(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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
