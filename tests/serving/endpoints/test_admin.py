"""The endpoints below /admin/, called as an ASGI server calls them: reload and rules."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.champion import rules_change
from serving.champion.watcher import ChampionWatcher
from serving.endpoints import admin
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.settings import ServingSettings
from serving.traffic.key_file import add_key

TOP = '# first\nrules: [{name: top, action: pin, slot: 1, items: item.id == "107"}]\n'
NO_TOOLS = '{"rules": [{"name": "no-tools", "action": "exclude", "items": "item.category == \\"Tools\\""}]}'
YAML = {"content-type": "application/yaml"}


class Shop:
    """The toy market with a catalogue, a file of rules and a key with the scope admin."""

    def __init__(self, market: Any, home: Path) -> None:
        self.settings, self.file, self.market = market.settings(home), home / "shop" / "rules.yaml", market
        market.release(self.settings, 1, 0)
        market.catalogue(self.settings)
        self.file.parent.mkdir()
        self.file.write_text("rules: []\n")
        self.key = add_key(home / "keys.yaml", "boss", None, None, ["admin"])
        self.keys = home / "keys.yaml"

    def worker(self, file: Path | None = None) -> Worker:
        worker = Worker(ServingSettings(api_keys_file=self.keys))
        worker.watcher = ChampionWatcher(self.settings.pointer, rules_file=file or self.file, rules_required=True)
        worker.watcher.poll()
        return worker

    def send(self, worker: Worker, method: str, path: str, **content: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=build(worker, Path()))
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                headers = {"authorization": f"Bearer {self.key}", **content.pop("headers", {})}
                return await client.request(method, path, headers=headers, **content)

        return asyncio.run(send())

    def put(self, worker: Worker, text: str, if_match: str | None, **headers: str) -> httpx.Response:
        matching = {} if if_match is None else {"if-match": if_match}
        return self.send(worker, "PUT", "/admin/rules", content=text, headers={**YAML, **matching, **headers})

    def first(self, worker: Worker) -> int:
        found: int = self.send(worker, "POST", "/predict", json={"user_id": 3}).json()["items"][0]["item_id"]
        return found


@pytest.fixture
def shop(market: Any, tmp_path: Path) -> Shop:
    return Shop(market, tmp_path)


def test_a_reload_reads_champion_catalogue_and_rules_at_once(shop: Shop) -> None:
    worker = shop.worker()
    before = shop.send(worker, "POST", "/admin/reload").json()
    assert (before["version"], before["rules"], before["problems"]) == (1, "", {})
    shop.market.release(shop.settings, 2, 4)
    catalogue = shop.market.catalogue(shop.settings, 5.0)
    shop.file.write_text(TOP)
    after = shop.send(worker, "POST", "/admin/reload").json()
    assert (after["dataset"], after["model"], after["version"]) == (shop.settings.dataset, "popularity", 2)
    assert (after["catalogue"], len(after["rules"])) == (catalogue.version, 64)
    assert shop.first(worker) == 107


def test_a_reload_reports_what_does_not_load_and_tries_it_again_at_once(shop: Shop) -> None:
    worker = shop.worker()
    folder = shop.market.release(shop.settings, 2, 4)
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(manifest + b" ")
    shop.file.write_text("rules: 5")
    found = shop.send(worker, "POST", "/admin/reload").json()
    assert found["version"] == 1
    assert "cannot be loaded" in found["problems"]["champion"]
    assert "rules: got 5" in found["problems"]["rules"]
    (folder / "manifest.json").write_bytes(manifest)
    found = shop.send(worker, "POST", "/admin/reload").json()
    assert (found["version"], list(found["problems"])) == (2, ["rules"])


def test_without_a_champion_the_answer_is_503(shop: Shop) -> None:
    worker = shop.worker()
    shop.settings.pointer.unlink()
    worker.watcher = ChampionWatcher(shop.settings.pointer, rules_file=shop.file)
    for method, path in (("POST", "/admin/reload"), ("GET", "/admin/rules")):
        assert shop.send(worker, method, path).status_code == 503
    assert shop.put(worker, TOP, "*").status_code == 503
    assert shop.file.read_text() == "rules: []\n"


def test_rules_are_read_replaced_and_served_before_the_answer(shop: Shop) -> None:
    worker = shop.worker()
    shop.file.chmod(0o640)
    read = shop.send(worker, "GET", "/admin/rules")
    assert (read.json()["text"], read.json()["version"], read.json()["refused"]) == ("rules: []\n", "", None)
    assert read.headers["etag"] == '""'
    put = shop.put(worker, TOP, read.headers["etag"])
    assert (put.status_code, put.json()["text"], shop.file.read_text()) == (200, TOP, TOP)
    assert shop.file.stat().st_mode & 0o777 == 0o640
    assert shop.first(worker) == 107
    version = put.json()["version"]
    assert put.headers["etag"] == f'"{version}"'
    assert shop.send(worker, "GET", "/admin/rules").json() | {"request_id": ""} == put.json() | {"request_id": ""}
    as_json = shop.put(worker, NO_TOOLS, f'"{version}"', **{"content-type": "application/json"})
    assert (as_json.status_code, shop.file.read_text()) == (200, NO_TOOLS)
    assert shop.first(worker) % 2 == 0


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("rules: [", "rules is not YAML"),
        ("rules: [{name: a, action: exclude}]", "rule a items: got nothing; allowed:"),
        ("rules: [{name: a, action: exclude, items: item.prise < 2.0}]", "did you mean item.price?"),
        ("rules: [{name: a, action: limit, attribute: brnd, at_most: 1}]", "did you mean brand?"),
        (b"\xff", "rules is not YAML"),
        ("# " + "x" * 1_048_576, "got more than 1048576 bytes"),
    ],
)
def test_rules_that_are_not_valid_change_nothing(shop: Shop, text: Any, reported: str) -> None:
    shop.file.write_text(TOP)
    worker = shop.worker()
    answer = shop.put(worker, text, "*")
    assert (answer.status_code, reported in answer.json()["detail"]) == (422, True), answer.text
    assert (shop.file.read_text(), shop.first(worker), worker.rules_problem) == (TOP, 107, "")


def test_rules_that_changed_meanwhile_are_not_overwritten(shop: Shop) -> None:
    first, second = shop.worker(), shop.worker()
    version = shop.put(first, TOP, "*").json()["version"]
    lost = shop.put(second, NO_TOOLS, '""')  # it has not polled since
    assert lost.status_code == 412
    assert f'"{version}", which serves now' in lost.json()["detail"]
    assert shop.file.read_text() == TOP
    assert shop.put(second, NO_TOOLS, f'"other", W/"{version}"').status_code == 200
    missing = shop.put(second, TOP, None)
    assert (missing.status_code, "if-match: got nothing" in missing.json()["detail"]) == (428, True)
    wrong = shop.put(second, TOP, "*", **{"content-type": "image/png"})
    assert (wrong.status_code, "allowed: application/yaml" in wrong.json()["detail"]) == (415, True)


def test_a_change_by_hand_during_a_change_is_reported(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = shop.worker()
    monkeypatch.setattr(rules_change, "write", lambda path, _: path.write_text(NO_TOOLS))
    assert shop.put(worker, TOP, "*").status_code == 412


def test_a_refused_file_is_shown_and_can_be_replaced(shop: Shop) -> None:
    shop.file.write_text(TOP)
    worker = shop.worker()
    served = shop.send(worker, "GET", "/admin/rules").json()
    for text, known in (("rules: 5", False), ("rules: [{name: a, action: bury, items: item.prise < 2.0}]", True)):
        shop.file.write_text(text)
        shop.send(worker, "POST", "/admin/reload")
        found = shop.send(worker, "GET", "/admin/rules").json()
        assert (found["text"], found["version"]) == (TOP, served["version"])
        assert (found["refused"]["error"], bool(found["refused"]["version"])) == (worker.rules_problem, known)
    restarted = shop.send(shop.worker(), "GET", "/admin/rules").json()  # which never read the text that serves
    assert restarted["version"] == served["version"]
    assert '"name":"top"' in restarted["text"]
    assert shop.put(worker, TOP, f'"{served["version"]}"').json()["refused"] is None


def test_a_file_that_cannot_be_written_is_a_conflict(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    blocked = shop.put(shop.worker(tmp_path / "folder"), TOP, "*")
    assert blocked.status_code == 409
    assert "cannot be written (Is a directory); set TRADEWIND_RULES_FILE" in blocked.json()["detail"]
    monkeypatch.setattr(admin, "BENTO_RULES", shop.file)
    answer = shop.put(shop.worker(), TOP, "*")
    assert (answer.status_code, "a Bento has the rules" in answer.json()["detail"]) == (409, True)
    assert shop.file.read_text() == "rules: []\n"


def test_without_keys_or_without_the_scope_nothing_is_open(shop: Shop) -> None:
    worker = shop.worker()
    requests = [("POST", "/admin/reload"), ("GET", "/admin/rules"), ("PUT", "/admin/rules"), ("POST", "/admin/erase")]
    worker.keys = None
    for method, path in requests:
        answer = shop.send(worker, method, path)
        assert (answer.status_code, "set TRADEWIND_API_KEYS_FILE" in answer.json()["detail"]) == (403, True)
    worker, shop.key = shop.worker(), add_key(shop.keys, "plain", None, None, [])
    for method, path in requests:
        assert shop.send(worker, method, path).status_code == 403
