"""A real service under more load than it can answer. Each list takes 50 milliseconds, so a client sends faster."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.settings import PROJECT

pytestmark = pytest.mark.slow

SLOW_SERVICE = """
import time
from serving.lists.predictor import Predictor
from serving.service import Tradewind

predict = Predictor.predict

def slowly(self, *arguments, **options):
    time.sleep(0.05)
    return predict(self, *arguments, **options)

Predictor.predict = slowly
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("overload")


@pytest.fixture(scope="module")
def client(market: Any, home: Path) -> Iterator[httpx.Client]:
    market.release(market.settings(home), 1, 0)
    (home / "slow_service.py").write_text(SLOW_SERVICE)
    environment = {"TRADEWIND_DATASET": "toy", "PYTHONPATH": str(PROJECT)}
    with market.serve("slow_service:Tradewind", home, home, "0.0.0.0", **environment) as running:
        market.until(lambda: running.get("/health").status_code == 200, (home / "server.log").read_text)
        yield running


def test_a_service_that_needs_no_key_warns_if_other_machines_can_reach_it(client, home):
    text = (home / "server.log").read_text()
    assert f"the service listens on 0.0.0.0:{client.base_url.port} and needs no key" in text


def test_under_overload_some_are_answered_the_others_refused_at_once_and_health_answers(client):
    order: list[Any] = []

    async def ask(path: str, connection: httpx.AsyncClient, **content: Any) -> httpx.Response:
        answer = await connection.request("POST" if content else "GET", path, **content)
        order.append((path, answer.status_code))
        return answer

    async def load() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=100)
        options: Any = {"base_url": client.base_url, "limits": limits, "trust_env": False, "timeout": 20}
        async with httpx.AsyncClient(**options) as connection:
            await asyncio.gather(*(ask("/health", connection) for _ in range(60)))  # opens the connections
            order.clear()
            burst = [ask("/predict", connection, json={"user_id": n}) for n in range(60)]
            return await asyncio.gather(*burst, *(ask("/health", connection) for _ in range(5)))

    before = client.get("/analytics").json()["strategies"]
    for _ in range(5):
        assert client.post("/predict", json={"user_id": 3}).status_code == 200
    answers = asyncio.run(load())
    predicted, health = answers[:60], answers[60:]
    refused = [answer for answer in predicted if answer.status_code == 503]
    n_answered = sum(answer.status_code == 200 for answer in predicted)
    assert len(refused) + n_answered == 60
    assert n_answered >= 3  # a burst may wait
    assert len(refused) >= 3  # on a busy machine the client sends them slowly
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert {answer.status_code for answer in health} == {200}
    half = [place for place, one in enumerate(order) if one == ("/predict", 503)][len(refused) // 2]
    assert order[half + 1 :].count(("/predict", 200)) >= 2  # refusals wait for no list
    after = client.get("/analytics").json()["strategies"]
    assert sum(after.values()) - sum(before.values()) == n_answered + 5  # no list is computed for a refused request
    assert client.post("/predict", json={"user_id": 3}).status_code == 200
