"""The toy market with a catalogue, rules, an application and a feedback store. Test files cannot import this file."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.champion.watcher import ChampionWatcher
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.feedback.store import FeedbackStore
from serving.feedback.worker_feedback import WorkerFeedback
from serving.steering.rules.files import rules_folder


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

    @staticmethod
    def call(
        worker: Worker, method: str, path: str, headers: dict[str, str] | None = None, **content: Any
    ) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=build(worker, Path()))
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                return await client.request(method, path, json=content or None, headers=headers)

        return asyncio.run(send())

    @staticmethod
    def items(worker: Worker, **fields: Any) -> list[dict[str, Any]]:
        answer = Shop.call(worker, "POST", "/predict", **{"user_id": 3, "n_recommendations": 100, **fields})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    @staticmethod
    def listed(worker: Worker, **fields: Any) -> set[int]:
        return {item["item_id"] for item in Shop.items(worker, **fields)}

    @staticmethod
    def until(condition: Any) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def shop(market: Any, tmp_path: Path) -> Shop:
    return Shop(market, tmp_path)


@pytest.fixture
def feedback() -> Iterator[Any]:
    opened: list[WorkerFeedback] = []

    def start(worker: Worker, shop: Shop) -> FeedbackStore:
        url = shop.settings.feedback_store
        found = WorkerFeedback(url, "toy", lambda: worker.champion, 30, worker.metrics.record_answers)
        worker.feedback = found
        opened.append(found)
        found.start()
        Shop.until(lambda: not found.problem)
        return FeedbackStore(url, "toy")

    yield start
    for each in opened:
        each.stop()
