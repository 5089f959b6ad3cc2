"""Requests that name an item by the number that it had before."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from recommenders.events.ids import IdMap
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.storage import schema
from serving.champion.pointer import fingerprint, read_pointer, write_pointer
from serving.champion.watcher import ChampionWatcher
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.lists.predictor import Predictor
from serving.steering.catalogue.files import Catalogue
from serving.steering.catalogue.served_items import ServedItems
from serving.steering.catalogue.tables import item_attributes, user_attributes

OLD = {"old 103": "103", "old 104": "104"}


@pytest.fixture
def model(market: Any) -> CollaborativeFiltering:
    log = market.log()
    return CollaborativeFiltering().fit(replace(log, items=IdMap(log.items.ids, OLD)))


def test_an_old_number_is_the_item(model: CollaborativeFiltering, tmp_path: Path) -> None:
    predictor = Predictor(model.save(tmp_path / "bundle"))
    for user_id in ("1", "new"):
        for scene in ("for_you", "reorder", "discover", "basket"):
            now = predictor.predict(user_id, ["103"], 12, scene=scene, exclude=["104"])
            assert predictor.predict(user_id, ["old 103"], 12, scene=scene, exclude=["old 104"]) == now
            assert not {*OLD, "104"} & set(now.item_ids)
            assert now.unknown_items == []


def test_the_endpoints_understand_an_old_number(model: CollaborativeFiltering, market: Any, tmp_path: Path) -> None:
    settings = market.settings(tmp_path)
    folder = market.release(settings, 1, 0)
    model.save(folder)
    pointer = read_pointer(settings.pointer)
    assert pointer
    write_pointer(settings.pointer, replace(pointer, bundle_sha256=fingerprint(folder)))
    worker = Worker(settings)
    worker.watcher = ChampionWatcher(settings.pointer)
    worker.watcher.poll()

    async def ask() -> list[Any]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            lists = [
                (await client.post("/predict", json={"user_id": "new", "history": [item]})).json()
                for item in ("old 103", "103", "no item")
            ]
            similar = [(await client.get(f"/similar/{item}")).json()["items"] for item in ("old 103", "103")]
            return [*([(one["strategy"], one["unknown_items"], one["items"]) for one in lists]), *similar]

    old, now, unknown, similar_old, similar = asyncio.run(ask())
    assert old == now
    assert old[:2] == ("history", [])
    assert unknown[:2] == ("popularity", ["no item"])
    assert similar_old == similar


def test_an_item_keeps_its_own_attributes(model: CollaborativeFiltering) -> None:
    """Also if a newer catalogue has the old number again."""
    rows = pa.table({"item_id": ["103", "old 103"], "title": ["new title", "old title"]})
    items = item_attributes(schema.conform(rows, schema.ITEMS, "items"), {}, datetime(2026, 1, 1, tzinfo=UTC))
    no_users = user_attributes(schema.conform(pa.table({"user_id": ["1"]}), schema.USERS, "users"), {})
    served = ServedItems(Catalogue(items, no_users), model.items_)
    assert served.values("103", ["title"]) == {"title": "new title"}
    assert served.values("104", ["title"]) == {"title": None}
