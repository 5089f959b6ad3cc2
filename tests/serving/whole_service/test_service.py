"""The service over HTTP: a real BentoML server on loopback."""

import json
import re
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.settings import PROJECT
from serving.steering.catalogue.files import record_file
from serving.web.predict_request import MAX_BODY_BYTES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def before(market: Any, home: Any) -> Iterator[tuple[httpx.Client, dict[str, httpx.Response]]]:
    """A server, and its responses before there was a champion."""
    with market.serve("serving.service:Tradewind", home, TRADEWIND_DATASET="toy") as client:
        market.until(lambda: "no champion yet" in client.get("/health").text, "/health did not report the problem")
        early = {
            "health": client.get("/health"),
            "predict": ask(client, user_id=1),
            "ready": client.get("/readyz"),
        }
        yield client, early


@pytest.fixture(scope="module")
def client(market: Any, home: Any, before: Any) -> httpx.Client:
    """The same server after version 1 was loaded."""
    market.release(market.settings(home), 1, 0)
    market.until(lambda: before[0].get("/health").status_code == 200, "the first champion was never loaded")
    market.until(lambda: "events" not in before[0].get("/health").json(), "the feedback store was never opened")
    return before[0]


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post("/predict", json=fields)


def test_without_a_champion_the_service_runs_and_reports_it(before):
    _, early = before
    for name in ("health", "predict"):
        assert early[name].status_code == 503
        assert early[name].headers["retry-after"] == "1"
    assert early["health"].json()["status"] == "starting"
    assert re.match(r"no champion yet: .*toy\.json does not exist; train and promote", early["health"].json()["reason"])
    assert "no champion yet" in early["predict"].json()["detail"]
    assert early["ready"].status_code == 503


def test_health_names_the_champion(client):
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


def test_a_known_user(client):
    answer = ask(client, user_id=3, n_recommendations=2).json()
    assert answer["user_id"] == 3
    assert answer["items"] == [{"item_id": 101, "rank": 1, "score": None}, {"item_id": 102, "rank": 2, "score": None}]
    assert (answer["model"], answer["version"], answer["strategy"]) == ("popularity", 1, "known_user")
    assert answer["unknown_items"] == []
    assert re.fullmatch(r"[0-9a-f]{24}", answer["request_id"])
    assert answer["milliseconds"] > 0


def test_cold_start_users(client):
    assert ask(client, user_id="unknown").json()["strategy"] == "popularity"
    answer = ask(client, user_id="unknown", history=[103, 999]).json()
    assert (answer["strategy"], answer["unknown_items"]) == ("history", [999])
    assert len(ask(client, user_id="unknown", n_recommendations=100).json()["items"]) == 12


def test_ids_are_returned_in_the_type_they_were_sent_in(client):
    assert ask(client, user_id="3").json()["items"][0]["item_id"] == "101"
    assert ask(client, user_id="3", history=[103]).json()["items"][0]["item_id"] == 101
    assert ask(client, user_id=3, history=["103"]).json()["items"][0]["item_id"] == "101"


@pytest.mark.parametrize(
    ("content", "media_type", "status", "message"),
    [
        (b"{", "application/json", 400, "body: not JSON"),
        (b'{"user_id": 1}', "text/plain", 415, "content-type: got 'text/plain'; allowed: application/json"),
        (b"{}", "application/json", 422, "user_id: got nothing; allowed: a string"),
        (b'{"user_id": 1, "k": 3}', "application/json", 422, "k: got 3; allowed: only the fields"),
        (b'{"user_id": 1%s}' % (b"0" * 400), "application/json", 422, "user_id: got a number of"),
        (
            b'{"user_id": 1, "n_recommendations": 0}',
            "application/json",
            422,
            "n_recommendations: got 0; allowed",
        ),
        (b"x" * (MAX_BODY_BYTES + 1), "application/json", 413, "body: got more than"),
    ],
)
def test_bad_requests_are_errors(client, content, media_type, status, message):
    answer = client.post("/predict", content=content, headers={"content-type": media_type})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    found = answer.json()
    assert message in found["detail"]
    assert (found["status"], found["title"]) == (status, HTTPStatus(status).phrase)
    assert re.fullmatch(r"[0-9a-f]{24}", found["request_id"])


def test_a_body_without_a_length_is_limited_too(client):
    answer = client.post(
        "/predict", content=(b"x" * 65536 for _ in range(20)), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


def test_paths_and_methods(client):
    assert client.get("/").headers["location"] == "docs"
    assert client.get("/nowhere").status_code == 404
    assert "/predict" in client.get("/nowhere").json()["detail"]
    assert (client.get("/predict").status_code, client.get("/predict").headers["allow"]) == (405, "POST")
    refused = client.post("/health")
    assert (refused.status_code, refused.json()["detail"]) == (405, "/health takes GET, HEAD; got POST")
    assert client.post("/predict/").status_code == 404
    assert client.head("/health").status_code == 200
    assert client.get("/docs/../service.py").status_code == 404


def test_the_docs_load_no_external_files(client):
    page = client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for place in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert not place.startswith(("http", "//"))
        assert client.get(f"/{place}").status_code == 200
    assert "validatorUrl: null" in client.get("/docs/start.js").text
    assert "googletagmanager" not in page.text


def test_the_openapi_document(client):
    described = client.get("/openapi.json").json()
    assert {path for path in described["paths"] if not path.startswith("/admin/")} == {
        *("/predict", "/predict/batch", "/similar/{item_id}", "/events", "/health", "/analytics", "/metrics")
    }
    fields = described["components"]["schemas"]["PredictRequest"]
    assert set(fields["properties"]) == {
        *("user_id", "history", "n_recommendations", "scene", "exclude", "fields", "filters", "explain"),
        *("context", "diversity"),
    }
    text = json.dumps(described)
    for reference in re.findall(r"#/components/schemas/(\w+)", text):
        assert reference in described["components"]["schemas"]
    answer = ask(client, user_id=3, explain=True).json()
    assert all(item["reasons"]["contributions"] for item in answer["items"] if item["score"])
    assert client.get("/similar/101?kind=substitutes").json()["items"]
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
    assert client.get("/favicon.ico").headers["content-type"] == "image/png"  # a browser asks for it on every page


def test_metrics_are_in_the_format_of_prometheus(client):
    ask(client, user_id=3)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    found = {sample.name: sample for sample in samples}
    assert found["tradewind_lists_total"].labels.keys() == {"endpoint", "strategy", "version"}
    figures = client.get("/analytics").json()
    timed = [sample.value for sample in samples if sample.name == "tradewind_request_duration_seconds_count"]
    assert sum(timed) == figures["requests"]


def purchases(user_id: Any, *item_ids: Any, **fields: Any) -> dict[str, Any]:
    events = [
        {"event_id": f"{user_id}-{item_id}", "event": "purchase", "user_id": user_id, "item_id": item_id, **fields}
        for item_id in item_ids
    ]
    return {"events": events}


def test_a_purchase_changes_the_next_list_within_a_second_and_is_stored_once(client, market):
    assert ask(client, user_id="buyer").json()["strategy"] == "popularity"
    answer = client.post("/events", json=purchases("buyer", 103, 999, 103)).json()
    assert (answer["stored"], answer["duplicates"]) == (2, 1)
    stored = time.monotonic()
    market.until(lambda: ask(client, user_id="buyer").json()["strategy"] == "history", "the purchase changed no list")
    assert time.monotonic() - stored < 1
    assert ask(client, user_id="buyer").json()["unknown_items"] == []  # only those of the request
    again = client.post("/events", json=purchases("buyer", 103, 999))
    assert (again.json()["stored"], again.json()["duplicates"]) == (0, 2)
    assert client.get("/analytics").json()["events"] == {"stored": 2, "duplicate": 3}
    assert "events" not in client.get("/health").json()


def test_one_bad_event_stores_none(client):
    answer = client.post("/events", json=purchases("other", 1, 2, quantity=-1))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [fault["field"] for fault in answer.json()["errors"]] == ["events[0].quantity", "events[1].quantity"]
    assert client.post("/events", json=purchases("other", 1, 2)).json()["stored"] == 2


EXAMPLES = re.findall(
    r"```(?:json|text)\n(.*?)```",
    (PROJECT / "docs" / "api.md").read_text().partition("### Fields")[2].partition("### Reasons")[0],
    re.DOTALL,
)


def test_the_examples_of_the_documentation_with_fields_and_filters(client, market, home):
    market.catalogue(market.settings(home))
    market.until(lambda: "catalogue" in client.get("/health").json(), "the catalogue was never loaded")
    fields, shown, range_, others, wrong, message, context, diversity = EXAMPLES
    (item,) = ask(client, **json.loads(fields)).json()["items"]
    example = json.loads(shown)
    assert (list(item), set(item["fields"])) == (list(example), set(example["fields"]))
    items = ask(client, **json.loads(range_)).json()["items"]
    assert {item["item_id"] for item in items} == {105, 109, 111} - {105}  # 105 has no price
    for item in items:
        assert item["fields"]["brand"] in "AB"
        assert 5 <= item["fields"]["price"] <= 20
    items = ask(client, **json.loads(others)).json()["items"]
    assert {item["item_id"] for item in items} == {102, 105, 108, 111}  # the blue ones
    answer = ask(client, **json.loads(wrong))
    assert (answer.status_code, answer.json()["detail"]) == (422, message.strip())
    for example in (context, diversity):
        assert len(ask(client, **json.loads(example)).json()["items"]) == 10


def test_a_new_catalogue_is_served_at_once_and_a_damaged_one_is_not(client, market, home):
    settings = market.settings(home)
    asked = {"user_id": 3, "n_recommendations": 1, "fields": ["price"]}
    for price in (7.0, 8.0):
        version = market.catalogue(settings, price).version
        market.until(
            lambda wanted=version: client.get("/health").json()["catalogue"] == wanted, "the catalogue was not replaced"
        )
        assert ask(client, **asked).json()["items"][0]["fields"] == {"price": price}
    record = record_file(settings.pointer)
    damaged = record.read_text().replace(version, "0" * 64)
    record.with_name("staging").write_text(damaged)
    record.with_name("staging").replace(record)
    market.until(lambda: "catalogue_problem" in client.get("/health").json(), "the damage was not reported")
    state = client.get("/health").json()
    assert state["catalogue"] == version
    assert "cannot be read" in state["catalogue_problem"]
    assert ask(client, **asked).json()["items"][0]["fields"] == {"price": 8.0}
    market.catalogue(settings, 9.0)
    market.until(lambda: "catalogue_problem" not in client.get("/health").json(), "the problem stayed")
    assert ask(client, **asked).json()["items"][0]["fields"] == {"price": 9.0}


class RepeatingClient(threading.Thread):
    """A client that sends requests without a pause."""

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
                    # the list must always be of the version that the answer names
                    assert content["items"][0]["item_id"] == 100 + content["version"], content
                    self.versions.append(content["version"])
                except Exception as error:
                    self.lost.append(repr(error))


def test_new_champions_are_served_without_a_lost_request(client, market, home):
    requests = RepeatingClient(str(client.base_url))
    requests.start()
    market.until(lambda: len(requests.versions) > 5, "no answers")
    market.release(market.settings(home), 2, 1)
    market.until(lambda: client.get("/health").json()["version"] == 2, "version 2 was not served")
    market.release(market.settings(home), 3, 2)
    market.until(lambda: client.get("/health").json()["version"] == 3, "version 3 was not served")
    market.until(lambda: requests.versions[-1] == 3, "version 3 answered no request")
    requests.done.set()
    requests.join(10)
    assert requests.lost == []
    assert sorted(set(requests.versions)) == [1, 2, 3]
    assert requests.versions == sorted(requests.versions)


def test_after_a_damaged_bundle_the_old_one_serves_until_a_good_one_is_released(client, market, home):
    settings = market.settings(home)
    serving = client.get("/health").json()["version"]
    content = settings.pointer.read_text()
    settings.champions.joinpath("staging.json").write_text(content.replace('sha256": "', 'sha256": "00'))
    settings.champions.joinpath("staging.json").replace(settings.pointer)
    market.until(lambda: "warning" in client.get("/health").json(), "the damage was not reported")
    state = client.get("/health")
    assert (state.status_code, state.json()["version"]) == (200, serving)
    assert "manifest.json was changed" in state.json()["warning"]
    assert ask(client, user_id=3).status_code == 200
    settings.pointer.write_text("{")
    market.until(
        lambda: "not a champion pointer" in client.get("/health").json()["warning"],
        "the damaged pointer was not reported",
    )
    settings.pointer.unlink()
    market.until(
        lambda: "does not exist" in client.get("/health").json()["warning"],
        "the missing pointer was not reported",
    )
    assert ask(client, user_id=3).json()["version"] == serving
    market.release(settings, 4, 3)
    market.until(lambda: client.get("/health").json()["version"] == 4, "version 4 was not served")
    assert "warning" not in client.get("/health").json()
