"""Which requests are refused, with which status; and pages of other origins."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.settings import ServingSettings
from serving.traffic.key_file import add_key

CLOSED = [("POST", "/predict"), ("POST", "/events"), ("GET", "/analytics"), ("GET", "/metrics"), ("GET", "/nowhere")]
OPEN = [("GET", "/health"), ("GET", "/docs"), ("GET", "/docs/start.js"), ("GET", "/openapi.json"), ("GET", "/")]


def send(worker: Worker, *requests: tuple[str, str], **headers: str) -> list[httpx.Response]:
    async def all_of_them() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return [await client.request(method, path, headers=named) for method, path in requests]

    return asyncio.run(all_of_them())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def worker(path: Path) -> Worker:
    return Worker(ServingSettings(api_keys_file=path))


def bearer(path: Path, name: str = "shop", *limits: Any, admin: bool = False) -> str:
    return "Bearer " + add_key(path, name, *(limits or (None, None)), ["admin"] if admin else [])


def test_without_a_file_of_keys_no_key_is_needed():
    assert [answer.status_code for answer in send(Worker(), *CLOSED)] == [503, 415, 200, 200, 404]


def test_a_key_is_needed_except_for_health_and_documents(worker, path):
    authorization = bearer(path)
    assert {answer.status_code for answer in send(worker, *CLOSED)} == {401}
    assert [answer.status_code for answer in send(worker, *OPEN)] == [503, 200, 200, 200, 307]
    for scheme in (authorization, authorization.replace("Bearer", "bearer")):
        assert [answer.status_code for answer in send(worker, *CLOSED, authorization=scheme)] == [
            503,
            415,
            200,
            200,
            404,
        ]


@pytest.mark.parametrize(
    "wrong", ["", "Bearer", "Bearer ", "Bearer tw_wrong", "Basic dXNlcjpwYXNz", "tw_x", "Bearer \xe9"]
)
def test_a_wrong_key_is_a_problem_with_a_challenge(worker, path, wrong):
    bearer(path)
    (answer,) = send(worker, ("POST", "/predict"), authorization=wrong.encode("latin-1"))
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith('Bearer realm="tradewind"')
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "tw_wrong" not in answer.text
    assert worker.metrics.summary()["statuses"] == {"401": 1}


def test_of_two_keys_the_first_counts(worker, path):
    good, wrong = ("authorization", bearer(path)), ("authorization", "Bearer tw_wrong")

    async def statuses() -> list[int]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return [(await client.get("/metrics", headers=two)).status_code for two in ([good, wrong], [wrong, good])]

    assert asyncio.run(statuses()) == [200, 401]


def test_the_hash_of_a_key_is_no_key(worker, path):
    bearer(path)
    stored = path.read_text().partition("sha256: ")[2].split()[0]
    (answer,) = send(worker, ("GET", "/metrics"), authorization=f"Bearer {stored}")
    assert answer.status_code == 401


def test_admin_paths_need_the_scope_also_where_other_paths_need_no_key(worker, path):
    (answer,) = send(Worker(), ("POST", "/admin/reload"))
    assert (answer.status_code, "TRADEWIND_API_KEYS_FILE" in answer.json()["detail"]) == (403, True)
    plain, admin = bearer(path), bearer(path, "boss", admin=True)
    for place, status in (("/admin", 404), ("/admin/", 404), ("/admin/reload", 503)):
        (answer,) = send(worker, ("POST", place), authorization=plain)
        assert (answer.status_code, 'scope="admin"' in answer.headers["www-authenticate"]) == (403, True)
        assert send(worker, ("POST", place), authorization=admin)[0].status_code == status
        assert send(worker, ("POST", place))[0].status_code == 401
    assert send(worker, ("GET", "/administration"), authorization=plain)[0].status_code == 404


def test_above_its_limit_a_key_has_to_wait(worker, path):
    limited, free = bearer(path, "shop", 0.25, 3), bearer(path, "other")
    answers = send(worker, *[("GET", "/metrics")] * 4, authorization=limited)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 4
    assert "key shop: got more than 0.25 requests per second, 3 at once" in answers[-1].json()["detail"]
    assert send(worker, ("GET", "/health"), authorization=limited)[0].status_code == 503  # not limited
    assert send(worker, ("GET", "/metrics"), authorization=free)[0].status_code == 200


def test_without_valid_keys_nothing_is_open_and_health_has_the_reason(worker, path):
    path.write_text("keys: 5")
    answer, health = send(worker, ("GET", "/metrics"), ("GET", "/health"), authorization="Bearer tw_x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert f"{path}: keys: " in health.json()["api_keys"]


ORIGIN = "https://shop.example"


def test_a_page_of_an_allowed_origin_may_call_the_service_with_its_key(path):
    authorization = bearer(path)
    worker = Worker(ServingSettings(api_keys_file=path, cors_origins=f"https://other.example, {ORIGIN}"))
    (preflight,) = send(
        worker,
        ("OPTIONS", "/predict"),
        origin=ORIGIN,
        access_control_request_method="POST",
        access_control_request_headers="authorization, content-type, x-request-id, x-timeout-ms",
    )
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "x-request-id" in preflight.headers
    for headers in ({}, {"authorization": authorization}):
        (answer,) = send(worker, ("POST", "/predict"), origin=ORIGIN, **headers)
        assert answer.status_code == (503 if headers else 401)  # a refusal can be read by the page too
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
    (other,) = send(worker, ("POST", "/predict"), origin="https://evil.example", authorization=authorization)
    assert "access-control-allow-origin" not in other.headers


def test_by_default_no_other_origin_is_allowed():
    (answer,) = send(Worker(), ("OPTIONS", "/predict"), origin=ORIGIN, access_control_request_method="POST")
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("wrong", ["shop.example", "https://shop.example/page", "https://a b"])
def test_an_origin_that_is_none_is_an_error(wrong):
    with pytest.raises(ValueError, match=r"allowed: origins as https://shop\.example"):
        ServingSettings(cors_origins=wrong)
