"""The examples of docs/api.md are valid, and real answers have the fields that /openapi.json describes."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from recommenders.models.ease import EASE
from serving.champion.pointer import fingerprint, read_pointer, write_pointer
from serving.champion.watcher import ChampionWatcher
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.web import admin_requests, openapi
from serving.web.events_request import parse_events
from serving.web.predict_request import parse, parse_batch

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
EXAMPLES = [
    json.loads(text) for text in re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
]
ADDED = {"request_id": "66175b4c1f7a09b3d2468c01", "milliseconds": 1.0}  # examples leave them out
MODELS = {
    ("items", "user_id"): openapi.PredictResponse,
    ("items", "kind"): openapi.SimilarResponse,
    ("answers",): openapi.BatchResponse,
    ("stored",): openapi.EventsResponse,
    ("reasons",): openapi.RecommendedItem,
    ("fields", "rank"): openapi.RecommendedItem,
    ("detail",): openapi.Problem,
    ("problems",): admin_requests.InForce,
    ("refused",): admin_requests.RulesInForce,
    ("erased_at",): admin_requests.Erased,
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: "-".join(example))
def test_an_example_is_a_valid_request_or_answer(example: dict[str, Any]) -> None:
    sent = json.dumps(example).encode()
    if "requests" in example:
        parse_batch(sent, "application/json")
    elif "events" in example:
        parse_events(sent.replace(b"2026-", b"2020-"), "application/json", 0)  # not in the future of any clock
    elif "user_id" in example and "items" not in example:
        parse(sent, "application/json")
    else:
        (model,) = (model for keys, model in MODELS.items() if set(keys) <= set(example))
        assert set(example) <= set(model.model_fields)
        model.model_validate(ADDED | example)
        if "reasons" in example:
            check_fields(example["reasons"])


def check_fields(reasons: dict[str, Any]) -> None:
    assert set(reasons) == set(openapi.Reasons.model_fields)
    for part in reasons["contributions"]:
        assert set(part) == set(openapi.Contribution.model_fields)
    for one in reasons["counterfactuals"]:
        assert set(one) == set(openapi.Counterfactual.model_fields)


def test_answers_have_the_fields_that_are_described(market: Any, tmp_path: Path) -> None:
    settings = market.settings(tmp_path)
    folder = market.release(settings, 1, 0)
    EASE().fit(market.log()).save(folder)
    pointer = read_pointer(settings.pointer)
    assert pointer is not None
    write_pointer(settings.pointer, replace(pointer, bundle_sha256=fingerprint(folder)))
    worker = Worker()
    worker.watcher = ChampionWatcher(settings.pointer)
    worker.watcher.poll()
    asked = {"user_id": 3, "history": [101], "scene": "discover", "n_recommendations": 3}

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            answers = [
                await client.post("/predict", json=asked | {"explain": True}),
                await client.post("/predict/batch", json={"requests": [asked]}),
                await client.get("/similar/101"),
            ]
        return [answer.json() for answer in answers]

    single, batch, similar = asyncio.run(ask())
    assert set(single) == set(openapi.PredictResponse.model_fields) == set(batch["answers"][0])
    assert set(batch) == set(openapi.BatchResponse.model_fields)
    assert set(similar) == set(openapi.SimilarResponse.model_fields)
    for item in single["items"]:
        assert set(item) == set(openapi.RecommendedItem.model_fields) - {
            "fields",
            "rules",
            "propensity",
        }  # not asked for, no rules and no exploration
        check_fields(item["reasons"])
    assert any(item["reasons"]["counterfactuals"] for item in single["items"])
