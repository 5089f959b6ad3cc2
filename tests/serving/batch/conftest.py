"""A shop with a champion, a catalogue, rules and newest events, and its service."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.events.sale_periods import ALWAYS, SalePeriods
from recommenders.models.calibration import Calibration, Curve
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.models.recommender import Recommender
from recommenders.splitting.temporal import training_log
from recommenders.storage import schema
from serving.champion.pointer import Pointer, fingerprint, write_pointer
from serving.champion.watcher import ChampionWatcher
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.feedback.events import StoredEvent
from serving.feedback.store import FeedbackStore
from serving.feedback.worker_feedback import WorkerFeedback
from serving.lists import precomputed
from serving.lists.served_lists import ServedLists
from serving.settings import ServingSettings
from serving.steering.catalogue.files import record_file, write
from serving.steering.catalogue.tables import item_attributes, user_attributes

SALE_ENDS = 4_000_000_000_000_000  # of the first items of the shop: after 2096
CONFIG = HybridLearnedConfig(base_models=("popularity", "ease"), n_windows=1, n_estimators=10, n_candidates=12)
CURVES = tuple(Curve(np.array([0.0, top]), np.array([0.01, share])) for top, share in ((2.0, 0.4), (3.0, 0.3)))
MODELS: dict[str, Callable[[], Recommender]] = {
    "collaborative_filtering": CollaborativeFiltering,
    "hybrid_learned": lambda: HybridLearned(CONFIG),
}
RULES = """
rules:
  - {name: in-stock, action: include_only, items: "item.price >= 2.0"}
  - {name: no-tools, action: exclude, when: 'user.segment == "cafe"', items: 'item.category == "Tools"'}
  - {name: third, action: pin, slot: 3, items: 'item.brand == "C"'}
  - {name: own, action: boost, factor: 3, items: 'item.brand == "B"'}
  - {name: two-each, action: limit, attribute: brand, at_most: 2}
"""


@dataclass
class Shop:
    """Users u00..u59 and items i00..i44."""

    settings: ServingSettings

    def rules(self, text: str = RULES) -> None:
        """Writes the file of rules."""
        path = self.settings.rules_file
        assert path is not None
        path.write_text(text)

    def events(self, *pairs: tuple[str, str]) -> None:
        """Stores purchases: user, item."""
        store = FeedbackStore(self.settings.feedback_store, "toy")
        store.append([StoredEvent(f"e{user}{item}", "purchase", user, item, 0, 0, None) for user, item in pairs])
        store.close()

    def answers(self, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What POST /predict answers to each."""
        worker = Worker(self.settings)
        worker.watcher = ChampionWatcher(self.settings.pointer, rules_file=self.settings.rules, rules_required=True)
        worker.watcher.poll()
        worker.feedback = WorkerFeedback(
            self.settings.feedback_store, "toy", lambda: worker.champion, 0, lambda *_: None
        )
        worker.feedback.start()
        deadline = time.monotonic() + 15
        while worker.feedback.problem or not worker.feedback.recent_items("u03"):
            assert time.monotonic() < deadline
            time.sleep(0.02)

        async def ask() -> list[dict[str, Any]]:
            transport = httpx.ASGITransport(app=build(worker, Path()))
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                found = [await client.post("/predict", json=body) for body in bodies]
                assert all(one.status_code == 200 for one in found), found[0].text
                return [one.json() for one in found]

        try:
            return asyncio.run(ask())
        finally:
            worker.feedback.stop()


def write_catalogue(settings: ServingSettings, items: pa.Table) -> None:
    """Attributes of all items, some of them missing; every fourth user is a cafe."""
    ids, places = items["item_id"].to_pylist(), range(items.num_rows)
    described = pa.table(
        {
            "item_id": ids,
            "title": [f"Item {id_}" for id_ in ids],
            "category": ["Tools" if place % 2 else "Paint" for place in places],
            "brand": ["ABCDEF"[place % 6] for place in places],
            "price": [float(place) if place % 7 else None for place in places],
            "attributes": [json.dumps({"stocked": place % 5 > 1 or None}) for place in places],
        }
    )
    users = [f"u{n:02}" for n in range(60)]
    segments = ["cafe" if n % 4 == 0 else None for n in range(60)]
    write(
        record_file(settings.pointer),
        item_attributes(schema.conform(described, schema.ITEMS, "items"), {}, datetime.now(UTC)),
        user_attributes(schema.conform(pa.table({"user_id": users, "segment": segments}), schema.USERS, "users"), {}),
    )


@pytest.fixture
def make_shop(weekly: Any, tmp_path: Path) -> Callable[..., Shop]:
    """A function that makes the shop: rules, catalogue, and newest events of u03 and u05."""

    def make(model: str = "collaborative_filtering", stored: bool = True) -> Shop:
        settings = ServingSettings(home=tmp_path / "home", dataset="toy", rules_file=tmp_path / "rules.yaml")
        shop, (events, items) = Shop(settings), weekly(40)
        log = training_log(events, items, Protocol("time_cut", test_days=7, repeat=True))
        starts, ends = np.full(len(log.items), ALWAYS.min), np.full(len(log.items), ALWAYS.max)
        ends[:4] = SALE_ENDS
        fitted = MODELS[model]().fit(replace(log, sale_periods=SalePeriods(starts, ends)))
        fitted.calibration_ = Calibration(dict.fromkeys(("all", "reorder", "popularity"), CURVES))
        bundle = fitted.save(settings.champions / "toy" / "1")
        digest = fingerprint(bundle)
        write_pointer(settings.pointer, Pointer("toy", model, 1, "toy/1", digest, "2026-01-01T00:00:00", "run"))
        if stored:
            precomputed.write(bundle, digest, ServedLists(fitted))
        write_catalogue(settings, items)
        shop.rules()
        shop.events(("u03", "i07"), ("u05", "i01"), ("u05", "i40"), ("new", "i09"))
        return shop

    return make


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    """The shop of collaborative_filtering, with precomputed lists."""
    return make_shop()
