"""Fields in answers and filters in requests, through the application, with a champion and a catalogue on disk."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.champion.watcher import ChampionWatcher
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.steering.catalogue.files import arrays_file, record_file

PAINT = {102, 104, 106, 108, 110}


@pytest.fixture
def settings(market: Any, tmp_path: Path) -> Any:
    return market.settings(tmp_path)


@pytest.fixture
def worker(market: Any, settings: Any) -> Worker:
    """Serves the toy market with its catalogue. User 3 bought 101 and 103."""
    market.release(settings, 1, 0)
    market.catalogue(settings)
    return watching(settings)


def watching(settings: Any) -> Worker:
    found = Worker()
    found.watcher = ChampionWatcher(settings.pointer)
    found.watcher.poll()
    return found


def ask(worker: Worker, **fields: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.post("/predict", json={"user_id": 3, "n_recommendations": 100, **fields})

    return asyncio.run(send())


def listed(worker: Worker, **fields: Any) -> set[int]:
    answer = ask(worker, **fields)
    assert answer.status_code == 200, answer.text
    return {item["item_id"] for item in answer.json()["items"]}


def test_each_item_has_the_fields_of_the_request(worker: Worker) -> None:
    items = ask(worker, fields=["title", "price", "colour", "stocked"]).json()["items"]
    found = {item["item_id"]: item["fields"] for item in items}
    assert set(found) == set(range(101, 113))
    assert found[102] == {"title": "Item 102", "price": 2.0, "colour": "blue", "stocked": True}
    assert found[105]["price"] is None
    assert found[101]["colour"] is None
    assert found[104]["stocked"] is False
    assert found[112] == dict.fromkeys(["title", "price", "colour", "stocked"])  # the catalogue lacks it
    assert "fields" not in ask(worker).json()["items"][0]
    assert ask(worker, fields=["price", "price"]).json()["items"][0]["fields"] == {"price": 1.0}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"category": "Paint"}, PAINT),
        ({"category": ["Paint", "Tools"]}, set(range(101, 112))),
        ({"category": "Paint", "brand": ["A", "B"]}, {102, 106, 108}),
        ({"price": {"min": 2, "max": 6}}, {102, 103, 104, 106}),
        ({"price": 3}, {103}),
        ({"colour": {"not": ["red"]}}, {102, 105, 108, 111}),
        ({"stocked": False}, {104}),
        ({"margin": {"min": 27.5}}, {110, 111}),
        ({"category": "Cars"}, set()),
    ],
)
@pytest.mark.parametrize("user", [{"user_id": 3}, {"user_id": 99}, {"user_id": 99, "history": [105, 104]}])
def test_only_items_that_meet_all_filters_are_in_the_list(
    worker: Worker, filters: dict[str, Any], expected: set[int], user: dict[str, Any]
) -> None:
    assert listed(worker, filters=filters, **user) == expected
    few = ask(worker, filters=filters, n_recommendations=2, **user).json()["items"]
    assert len(few) == min(2, len(expected))


def test_every_scene_respects_filters(worker: Worker) -> None:
    tools = {"category": "Tools"}
    assert listed(worker, scene="reorder", filters={"colour": "red"}) == {103}
    assert listed(worker, scene="discover", filters=tools) == {105, 107, 109, 111}
    assert listed(worker, scene="basket", history=[105], filters=tools) == {101, 103, 107, 109, 111}
    assert listed(worker, filters=tools, exclude=[107]) == {101, 103, 105, 109, 111}


@pytest.mark.parametrize(
    ("fields", "reported"),
    [
        (
            {"fields": ["title", "prise"]},
            "fields[1]: got 'prise'; allowed: only brand, category, colour, margin, price, rating, stocked, "
            "subcategory, title; did you mean price?",
        ),
        ({"fields": ["segment"]}, "fields[0]: got 'segment'; allowed: only brand"),  # of users
        ({"fields": ["x" * 65]}, "fields[0]: got 'xxx"),
        ({"fields": "title"}, "fields: got 'title'; allowed: a list of up to 100 names of attributes of items"),
        ({"fields": [1]}, "fields[0]: got 1; allowed: a name of an attribute of items"),
        ({"fields": ["title"] * 101}, "fields: got a list of 101; allowed: a list of up to 100"),
        ({"filters": {"colour": 5}}, "filters.colour: got 5; allowed: a text"),
        ({"filters": {"income": "high"}}, "filters.income: got 'high'; allowed: only brand"),  # of users
        ({"filters": {"price": {"min": 9, "max": 1}}}, "filters.price: got 'min 9, max 1'; allowed: a min that is not"),
        ({"filters": ["price"]}, "filters: got a list of 1; allowed: an object of up to 100 attributes"),
        ({"filters": {f"x{n}": 1 for n in range(101)}}, "filters: got an object; allowed: an object of up to 100"),
    ],
)
def test_a_wrong_field_or_filter_is_a_problem(worker: Worker, fields: dict[str, Any], reported: str) -> None:
    answer = ask(worker, **fields)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert reported in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == reported.partition(":")[0]


def test_a_filtered_list_with_reasons_is_the_one_without(worker: Worker) -> None:
    asked = {"filters": {"category": "Paint"}, "exclude": [104], "history": [106]}
    plain, explained = ask(worker, **asked).json()["items"], ask(worker, **asked, explain=True).json()["items"]
    assert {item["item_id"] for item in plain} == PAINT - {104}
    parts = [item.pop("reasons")["contributions"] for item in explained]
    assert {part["source"] for found in parts for part in found} == {"popularity"}
    assert explained == plain


def test_a_batch_with_a_wrong_filter_names_the_request_and_makes_no_list(worker: Worker) -> None:
    good = {"user_id": 3, "fields": ["title"]}
    wrong = [good, {**good, "filters": {"price": "cheap"}}, good]

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            bodies = [{"requests": one} for one in (wrong, [good, good])]
            return [await client.post("/predict/batch", json=body) for body in bodies]

    refused, answered = asyncio.run(send())
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "requests[1].filters.price"
    assert refused.json()["detail"].startswith("requests[1].filters.price: got 'cheap'; allowed: a number, ")
    assert answered.json()["answers"][1]["items"][0]["fields"]["title"].startswith("Item ")
    assert sum(worker.metrics.summary()["strategies"].values()) == 2


def test_attributes_of_users_are_in_no_answer(worker: Worker) -> None:
    assert worker.catalogue is not None
    users = worker.catalogue.users
    assert users.columns["income"].value(users.row("1")) == "high"
    answer = ask(worker, user_id=1, fields=["title"]).text
    assert "high" not in answer
    assert "cafe" not in answer


def test_without_a_catalogue_lists_are_made_but_no_fields_and_filters(market: Any, settings: Any) -> None:
    market.release(settings, 1, 0)
    plain = watching(settings)
    assert len(listed(plain)) == 12
    for asked in ({"fields": ["title"]}, {"filters": {"price": 1}}):
        answer = ask(plain, **asked)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "no catalogue is loaded yet" in answer.json()["detail"]
    assert plain.catalogue is None
    market.catalogue(settings)
    assert plain.watcher is not None
    plain.watcher.poll()
    assert listed(plain, filters={"price": 1}) == {101}


def test_a_request_sees_one_pair_of_champion_and_catalogue(market: Any, settings: Any, worker: Worker) -> None:
    old = worker.champion
    assert worker.watcher is not None
    first = worker.catalogue
    market.catalogue(settings, price=50.0)
    worker.watcher.poll()
    assert ask(worker, fields=["price"]).json()["items"][0]["fields"] == {"price": 50.0}
    assert old is not None
    assert old.items is not None
    assert old.items.values("101", ["price"]) == {"price": 1.0}
    assert worker.champion is not None
    assert worker.champion.predictor is old.predictor
    assert worker.catalogue is not None
    assert worker.catalogue is not first
    known = worker.champion.items
    worker.watcher.poll()
    assert worker.champion.items is known  # aligned once
    market.release(settings, 2, 1)
    worker.watcher.poll()
    assert worker.champion.pointer.version == 2
    assert worker.champion.items is not None
    assert worker.champion.items.catalogue.version == json.loads(record_file(settings.pointer).read_text())["version"]


def test_no_champion_is_served_without_the_catalogue_that_is_loaded(market: Any, settings: Any) -> None:
    class Recording(ChampionWatcher):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "champion" and value is not None:
                served.append(value.items is not None)
            super().__setattr__(name, value)

    served: list[bool] = []
    market.release(settings, 1, 0)
    market.catalogue(settings)
    watcher = Recording(settings.pointer)
    watcher.poll()
    market.release(settings, 2, 1)
    watcher.poll()
    market.catalogue(settings, price=50.0)
    watcher.poll()
    assert served == [True, True, True]


def test_a_damaged_catalogue_stops_no_new_champion(market: Any, settings: Any, worker: Worker) -> None:
    record = market.catalogue(settings, price=50.0)
    arrays_file(record_file(settings.pointer), record.version).write_bytes(b"")
    market.release(settings, 2, 1)
    assert worker.watcher is not None
    worker.watcher.poll()
    assert worker.champion is not None
    assert worker.champion.pointer.version == 2
    assert ask(worker, fields=["price"], filters={"price": 1}).json()["items"][0]["fields"] == {"price": 1.0}
    assert "was changed" in worker.catalogue_problem
