"""The service over HTTP: a real BentoML server on loopback."""

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving.requests import LARGEST_BODY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def before(market: Any, home: Any) -> Iterator[tuple[httpx.Client, dict[str, httpx.Response]]]:
    """A server, and what it said before there was a champion."""
    with market.serve("serving.service:Tradewind", home, TRADEWIND_DATASET="toy") as client:
        market.until(lambda: "no champion yet" in client.get("/health").text, "it never said that there is no champion")
        early = {
            "health": client.get("/health"),
            "predict": ask(client, user_id=1),
            "ready": client.get("/readyz"),
        }
        yield client, early


@pytest.fixture(scope="module")
def client(market: Any, home: Any, before: Any) -> httpx.Client:
    """The same server once version 1 is warm."""
    market.release(market.settings(home), 1, 0)
    market.until(lambda: before[0].get("/health").status_code == 200, "the first champion was never loaded")
    return before[0]


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post("/predict", json=fields)


def test_without_a_champion_it_runs_and_says_so(before):
    _, early = before
    for name in ("health", "predict"):
        assert early[name].status_code == 503
        assert early[name].headers["retry-after"] == "1"
    assert early["health"].json()["status"] == "starting"
    assert re.match(r"no champion yet: .*toy\.json does not exist; train and promote", early["health"].json()["reason"])
    assert "no champion yet" in early["predict"].json()["error"]
    assert early["ready"].status_code == 503


def test_health_names_what_serves(client):
    state = client.get("/health").json()
    assert (state["status"], state["dataset"], state["model"], state["version"]) == (
        "ok",
        "toy",
        "popularity",
        1,
    )
    assert state["age_seconds"] >= 0
    assert state["items_on_sale"] == 12
    assert "warning" not in state
    assert client.get("/readyz").status_code == 200


def test_a_known_buyer(client):
    answer = ask(client, user_id=3, n_recommendations=2).json()
    assert answer["user_id"] == 3
    assert answer["items"] == [{"item_id": 101, "score": 13.0}, {"item_id": 102, "score": 1.0}]
    assert (answer["model"], answer["version"], answer["strategy"]) == ("popularity", 1, "known_buyer")
    assert answer["unknown_items"] == []
    assert re.fullmatch(r"[0-9a-f]{16}", answer["request_id"])
    assert answer["milliseconds"] > 0


def test_strangers(client):
    assert ask(client, user_id="nobody").json()["strategy"] == "popularity"
    folded = ask(client, user_id="nobody", history=[103, 999]).json()
    assert (folded["strategy"], folded["unknown_items"]) == ("history", [999])
    assert len(ask(client, user_id="nobody", n_recommendations=100).json()["items"]) == 12


def test_ids_come_back_in_the_type_they_were_sent_in(client):
    assert ask(client, user_id="3").json()["items"][0]["item_id"] == "101"
    assert ask(client, user_id="3", history=[103]).json()["items"][0]["item_id"] == 101
    assert ask(client, user_id=3, history=["103"]).json()["items"][0]["item_id"] == "101"


@pytest.mark.parametrize(
    ("content", "kind", "status", "told"),
    [
        (b"{", "application/json", 400, "body: not JSON"),
        (b'{"user_id": 1}', "text/plain", 400, "content-type: got 'text/plain'; allowed: application/json"),
        (b"{}", "application/json", 422, "user_id: got nothing; allowed: a string"),
        (b'{"user_id": 1, "k": 3}', "application/json", 422, "k: got 3; allowed: only the fields"),
        (b'{"user_id": 1%s}' % (b"0" * 400), "application/json", 422, "user_id: got a number of"),
        (
            b'{"user_id": 1, "n_recommendations": 0}',
            "application/json",
            422,
            "n_recommendations: got 0; allowed",
        ),
        (b"x" * (LARGEST_BODY + 1), "application/json", 413, "body: got more than"),
    ],
)
def test_bad_requests_are_told(client, content, kind, status, told):
    answer = client.post("/predict", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert told in answer.json()["error"]


def test_a_body_without_a_length_is_limited_too(client):
    answer = client.post(
        "/predict", content=(b"x" * 65536 for _ in range(20)), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


def test_paths_and_methods(client):
    assert client.get("/").headers["location"] == "docs"
    assert client.get("/nowhere").status_code == 404
    assert "/predict" in client.get("/nowhere").json()["error"]
    assert (client.get("/predict").status_code, client.get("/predict").headers["allow"]) == (405, "POST")
    assert client.post("/health").status_code == 405
    assert client.head("/health").status_code == 200
    assert client.get("/docs/../service.py").status_code == 404


def test_the_docs_load_nothing_from_elsewhere(client):
    page = client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for place in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert not place.startswith(("http", "//"))
        assert client.get(f"/{place}").status_code == 200
    assert "validatorUrl: null" in client.get("/docs/start.js").text
    assert "googletagmanager" not in page.text


def test_the_description_for_machines(client):
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/health", "/analytics"}
    fields = described["components"]["schemas"]["PredictRequest"]
    assert set(fields["properties"]) == {"user_id", "history", "n_recommendations"}
    text = json.dumps(described)
    for reference in re.findall(r"#/components/schemas/(\w+)", text):
        assert reference in described["components"]["schemas"]
    answer = ask(client, user_id=3).json()
    assert set(answer) == set(described["components"]["schemas"]["PredictResponse"]["properties"])


def test_analytics(client):
    ask(client, user_id=3)
    figures = client.get("/analytics").json()
    assert figures["requests"] == sum(figures["statuses"].values())
    assert figures["statuses"]["503"] == 1
    assert figures["errors"] >= 1
    assert figures["latency_ms"]["p50"] > 0
    assert figures["versions"]["1"] == figures["statuses"]["200"]
    page = client.get("/analytics", headers={"accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "Latency" in page.text


class Asking(threading.Thread):
    """A client that never stops asking."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.done = url, threading.Event()
        self.versions: list[int] = []
        self.lost: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=10, trust_env=False) as client:
            while not self.done.is_set():
                try:
                    answer = client.post("/predict", json={"user_id": 3, "n_recommendations": 1})
                    content = answer.json()
                    # the list and the version's name always belong together
                    assert content["items"][0]["item_id"] == 100 + content["version"], content
                    self.versions.append(content["version"])
                except Exception as error:
                    self.lost.append(repr(error))


def test_new_champions_go_live_without_a_lost_request(client, market, home):
    asking = Asking(str(client.base_url))
    asking.start()
    market.until(lambda: len(asking.versions) > 5, "no answers")
    market.release(market.settings(home), 2, 1)
    market.until(lambda: client.get("/health").json()["version"] == 2, "version 2 never went live")
    market.release(market.settings(home), 3, 2)
    market.until(lambda: client.get("/health").json()["version"] == 3, "version 3 never went live")
    market.until(lambda: asking.versions[-1] == 3, "version 3 was never asked")
    asking.done.set()
    asking.join(10)
    assert asking.lost == []
    assert sorted(set(asking.versions)) == [1, 2, 3]
    assert asking.versions == sorted(asking.versions)


def test_a_damaged_bundle_leaves_the_old_one_serving_and_a_good_one_mends(client, market, home):
    settings = market.settings(home)
    serving = client.get("/health").json()["version"]
    kept = (settings.pointer.read_text(), settings.pointer)
    settings.champions.joinpath("staging.json").write_text(kept[0].replace('sha256": "', 'sha256": "00'))
    settings.champions.joinpath("staging.json").replace(settings.pointer)
    market.until(lambda: "warning" in client.get("/health").json(), "the damage was never told")
    state = client.get("/health")
    assert (state.status_code, state.json()["version"]) == (200, serving)
    assert "manifest.json was changed" in state.json()["warning"]
    assert ask(client, user_id=3).status_code == 200
    settings.pointer.write_text("{")
    market.until(
        lambda: "not a champion pointer" in client.get("/health").json()["warning"],
        "the torn pointer was never told",
    )
    settings.pointer.unlink()
    market.until(lambda: "does not exist" in client.get("/health").json()["warning"], "the lost pointer was never told")
    assert ask(client, user_id=3).json()["version"] == serving
    market.release(settings, 4, 3)
    market.until(lambda: client.get("/health").json()["version"] == 4, "version 4 never went live")
    assert "warning" not in client.get("/health").json()
