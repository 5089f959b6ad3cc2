"""Every example of docs/steer.md, read from the page."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml

from serving.champion.watcher import ChampionWatcher
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.settings import PROJECT
from serving.steering.rules.files import read
from serving.steering.rules.rule_types import ACTIONS, MAX_RULES, Exploration, parse
from serving.steering.rules.rules_of_model import MAX_LOADED, MAX_REQUESTED

PAGE = (PROJECT / "docs" / "steer.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def worker(market: Any, tmp_path: Path) -> Worker:
    """Serves the toy market by the rules of the page."""
    settings = market.settings(tmp_path)
    market.release(settings, 1, 0)
    market.catalogue(settings)
    example, _ = blocks("yaml")
    (tmp_path / "rules.yaml").write_text(example)
    found = Worker()
    found.watcher = ChampionWatcher(settings.pointer, rules_file=tmp_path / "rules.yaml")
    found.watcher.poll()
    assert found.rules_problem == ""
    return found


def ask(worker: Worker, body: dict[str, Any]) -> list[dict[str, Any]]:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.post("/predict", json=body)

    answer = asyncio.run(send())
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_the_rules_of_the_page_do_what_it_says(worker: Worker) -> None:
    fields = ["category", "colour", "stocked"]
    found = ask(worker, {"user_id": 3, "fields": fields, "n_recommendations": 6})
    assert all(item["fields"]["stocked"] for item in found)
    assert "new-paint" in found[1]["rules"]
    assert found[1]["fields"]["category"] == "Paint"
    categories = [item["fields"]["category"] for item in found]
    assert max(categories.count(each) for each in categories) == 3
    cafe = ask(worker, {"user_id": 1, "fields": fields, "n_recommendations": 6})  # a user of the segment cafe
    assert {item["fields"]["category"] for item in cafe} == {"Paint"}
    assert prices(worker, 3) > 8.0
    assert prices(worker, 3, context={"channel": "web"}) > 8.0
    assert prices(worker, 3, context={"channel": "app"}) <= 8.0


def prices(worker: Worker, user_id: int, **more: Any) -> float:
    """The highest price in the list of all items."""
    found = ask(worker, {"user_id": user_id, "fields": ["price"], "n_recommendations": 100, **more})
    return max(item["fields"]["price"] or 0.0 for item in found)


def test_the_request_of_the_page_and_its_answer(worker: Worker) -> None:
    request, item, _ = (orjson.loads(block) for block in blocks("json"))
    found = ask(worker, request)
    assert found
    assert 107 not in {each["item_id"] for each in found}
    named = [each for each in ask(worker, {"user_id": 3}) if "rules" in each]
    assert set(named[0]) == set(item)


def test_exploration_as_the_page_has_it(worker: Worker) -> None:
    rules, exploration = blocks("yaml")
    assert worker.watcher
    path = worker.watcher.rules.path
    assert path
    path.write_text(exploration.replace("depth: 50", "depth: 12") + rules.replace("new-paint", "newer-paint"))
    worker.watcher.poll()
    assert worker.rules_problem == ""
    found = [item for _ in range(30) for item in ask(worker, {"user_id": 3, "n_recommendations": 4})]
    explored = orjson.loads(blocks("json")[2])
    stated = [item for item in found if "propensity" in item]
    assert all(set(explored) <= set(item) for item in stated)
    assert {item["propensity"] for item in stated} == {0.9, 0.1 / 2}  # under the limit, two items can be drawn
    assert any("newer-paint" in item.get("rules", ()) and "propensity" not in item for item in found)
    assert all("propensity" not in item for item in found if item["rank"] == 1)
    page_keys = re.findall(r"^\| `(share|depth|scenes)` \|", PAGE, re.MULTILINE)
    assert page_keys == list(Exploration.model_fields)


def test_the_page_names_every_action_and_the_limits() -> None:
    assert re.findall(r"^\| `(\w+)` \| `(?:items|attribute)", PAGE, re.MULTILINE) == [
        *("exclude", "include_only", "forbid_bought", "allow_bought", "pin", "boost", "bury", "limit")
    ]
    assert len(ACTIONS) == 8
    for limit in (
        f"up to {MAX_RULES} rules",
        f"up to {MAX_LOADED:,} evaluations",
        f"up to {MAX_REQUESTED:,} evaluations",
    ):
        assert limit in PAGE


def test_the_shipped_file_has_no_rules_and_its_examples_are_valid() -> None:
    path = PROJECT / "configs" / "rules.yaml"
    assert read(path).rules == ()
    lines = path.read_text().split("want.\n#\n")[1].splitlines()
    examples = parse(yaml.safe_load("\n".join(line.removeprefix("# ") for line in lines)), "examples")
    assert len(examples.rules) == 4
    assert examples.exploration == Exploration(share=0.1)
