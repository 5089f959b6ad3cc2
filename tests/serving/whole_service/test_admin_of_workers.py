"""The requests of an admin to a real service with two workers and a Redis: both workers follow."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from recommenders.models.ease import EASE
from serving.champion.pointer import fingerprint, read_pointer, write_pointer
from serving.traffic.key_file import add_key

pytestmark = pytest.mark.slow


def test_rules_reloads_and_erasures_reach_both_workers(market: Any, tmp_path: Path, redis_url: str) -> None:
    settings, rules = market.settings(tmp_path), tmp_path / "rules.yaml"
    folder = market.release(settings, 1, 0)
    EASE().fit(market.log()).save(folder)
    pointer = read_pointer(settings.pointer)
    assert pointer
    write_pointer(settings.pointer, replace(pointer, bundle_sha256=fingerprint(folder)))
    rules.write_text("rules: []\n")
    key = add_key(tmp_path / "keys.yaml", "boss", None, None, ["admin"])
    environment = {
        "TRADEWIND_DATASET": settings.dataset,
        "TRADEWIND_WORKERS": "2",
        "TRADEWIND_API_KEYS_FILE": str(tmp_path / "keys.yaml"),
        "TRADEWIND_RULES_FILE": str(rules),
        "TRADEWIND_CACHE_URL": redis_url,
    }

    with market.serve("serving.service:Tradewind", tmp_path, **environment) as client:

        def send(method: str, path: str, **more: Any) -> httpx.Response:
            """The answer over a new connection, which any of the workers may accept."""
            headers = {"authorization": f"Bearer {key}", **more.pop("headers", {})}
            url = client.base_url.join(path)
            # without TLS: loading certificates would take 18 ms
            return httpx.request(method, url, headers=headers, trust_env=False, verify=False, timeout=10, **more)

        def asked(**fields: Any) -> dict[str, Any]:
            return send("POST", "/predict", json={"user_id": 3, **fields}).json()  # type: ignore[no-any-return]

        def wait(condition: Callable[[], bool]) -> None:
            """Waits until the condition holds for as many answers as certainly come from both workers."""
            log = (tmp_path / "server.log").read_text
            market.until(lambda: all(condition() for _ in range(12)), log)

        def is_ready() -> bool:
            """Also the feedback store, which a worker opens after its champion."""
            health = send("GET", "/health")
            return health.status_code == 200 and "events" not in health.json()

        wait(is_ready)
        top = b'rules: [{name: top, action: pin, slot: 2, items: item.id == "109"}]'
        yaml = {"content-type": "application/yaml", "if-match": '""'}
        put = send("PUT", "/admin/rules", content=top, headers=yaml)
        assert put.status_code == 200, put.text
        wait(lambda: send("GET", "/health").json().get("rules") == put.json()["version"])
        wait(lambda: asked()["items"][1]["item_id"] == 109)
        assert send("PUT", "/admin/rules", content=top, headers=yaml).status_code == 412
        assert send("POST", "/admin/reload").json()["rules"] == put.json()["version"]

        event = {"event_id": "order-1", "event": "purchase", "user_id": 3, "item_id": 105}
        assert send("POST", "/events", json={"events": [event]}).json()["stored"] == 1
        assert {asked(scene="discover")["strategy"] for _ in range(12)} == {"known_user"}
        market.until(lambda: 'result="hit"' in send("GET", "/metrics").text, "no list came from the cache")
        receipt = send("POST", "/admin/erase", json={"user_id": 3}).json()
        assert receipt["deleted"]["events"] == 1
        wait(lambda: asked(history=[104])["strategy"] == "history")
        assert {asked(scene="discover")["strategy"] for _ in range(12)} == {"popularity"}
        assert send("POST", "/events", json={"events": [event]}).json()["duplicates"] == 1
