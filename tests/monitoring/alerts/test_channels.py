"""Alerts arrive by a real mail server and a real HTTP server; the log has them all; no message contains a secret."""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from measuring.service.mail_server import Mailbox, mail_server

from monitoring.alerts.alert import Alert
from monitoring.alerts.channels import AppriseChannel, ChannelError, LogChannel
from monitoring.alerts.configuration import ChannelConfig
from monitoring.alerts.dispatcher import AlertDispatcher
from monitoring.alerts.listing import channel_states, open_incidents
from monitoring.alerts.message_text import MessageText
from recommenders.errors import ConfigurationError, UnknownNameError

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
TEXT = MessageText("[warning] prices moved", "median 6 → 9", "warning")


class Hook(ThreadingHTTPServer):
    """A web hook that keeps what it got, and answers with a status."""

    def __init__(self, port: int) -> None:
        self.status, self.got = 200, list[dict[str, Any]]()
        super().__init__(("127.0.0.1", port), HookRequest)


class HookRequest(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.got.append({"path": self.path, **body})
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hook(free_port: int) -> Iterator[Hook]:
    with Hook(free_port) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What the root logger gets. (pytest's own handler is on Apprise's logger, too, which passes nothing on.)"""
    found: list[str] = []
    handler, root = logging.Handler(), logging.getLogger()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield found
    root.removeHandler(handler)
    root.setLevel(level)


def channel(url: str) -> AppriseChannel:
    return AppriseChannel(ChannelConfig(name="some", url=url))


def dispatcher(folder: Path, **channels: str) -> AlertDispatcher:
    content = [{"name": name, "url": url, "minimum": "info"} for name, url in channels.items()]
    (folder / "alerts.yaml").write_text(json.dumps({"channels": content, "group_seconds": 0, "runbooks": "/docs/a.md"}))
    outbox = f"sqlite:///{folder / 'outbox.db'}"
    return AlertDispatcher(outbox, folder / "alerts.yaml", folder / "alerts.jsonl", lambda: NOON)


def test_an_alert_and_its_end_arrive_by_mail_and_web_hook(
    tmp_path: Path, hook: Hook, pick_port: Callable[[], int]
) -> None:
    mailbox = Mailbox()
    with mail_server(mailbox, pick_port()) as mail:
        alerts = dispatcher(tmp_path, mail=mail, hook=f"json://127.0.0.1:{hook.server_port}/hook")
        done = "It starts no retraining."
        alerts.send(Alert("feed\n of ünits", "<3 rows & more", "critical", "broken feed", "toy", done=done, at=NOON))
        alerts.recover("broken feed", "toy")
    (subject, text), (end, _) = mailbox.accepted
    assert (subject, end) == ("[critical] feed of ünits", "[resolved] feed of ünits")
    assert text.splitlines()[:4] == [
        "<3 rows & more",
        "Done by the platform: It starts no retraining.",
        "What to do: /docs/a.md#broken-feed",
        "At 2026-03-04 12:00:00 UTC on toy",
    ]
    assert [(got["path"], got["type"]) for got in hook.got] == [("/hook", "failure"), ("/hook", "success")]
    assert hook.got[0]["title"] == subject
    assert "<3 rows & more" in hook.got[0]["message"]


def test_all_incidents_of_a_cause_on_a_data_set_end_together(tmp_path: Path) -> None:
    alerts = dispatcher(tmp_path)
    for dataset, subject in (("toy", "version 3"), ("toy", "version 5"), ("other", "version 3")):
        alerts.send(Alert("rolled back", "", "critical", "rollback", dataset, subject=subject, at=NOON))
    alerts.send(Alert("prices moved", "", "warning", "drift", "toy", at=NOON))
    alerts.recover_all("rollback", "toy")
    assert {one.key for one in open_incidents(alerts.outbox)} == {"rollback/other/version 3", "drift/toy"}


def test_what_a_server_refuses_waits_with_the_reason(tmp_path: Path, hook: Hook) -> None:
    alerts = dispatcher(tmp_path, hook=f"json://127.0.0.1:{hook.server_port}/hook")
    hook.status = 503
    alerts.send(Alert("prices moved", "", "warning", "drift", "toy", at=NOON))
    (log, state) = channel_states(alerts.outbox, ["log", "hook"])
    assert (log.sent, state.waiting, state.sent) == (1, 1, 0)
    assert "Service not available" in state.problem or "503" in state.problem
    assert state.next_attempt is not None
    assert state.next_attempt > NOON


@pytest.mark.parametrize(
    "url",
    [
        "json://user:topsecret@127.0.0.1:{port}/hooktoken?+X-Key=headersecret",
        "mailto://user:topsecret@127.0.0.1:{port}?from=a@example.org&to=oncall@example.org",
    ],
)
def test_no_error_contains_a_secret(url: str, free_port: int, logged: list[str]) -> None:
    with pytest.raises(ChannelError, match=r"127\.0\.0\.1.*refused") as error:
        channel(url.format(port=free_port)).send_text(TEXT)
    seen = "\n".join([str(error.value), channel(url.format(port=free_port)).address(), *logged])
    for secret in ("topsecret", "hooktoken", "headersecret"):
        assert secret not in seen
    assert f"127.0.0.1:{free_port}" in channel(url.format(port=free_port)).address()


def test_a_url_takes_its_secret_from_the_environment(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    one = channel(f"json://127.0.0.1:{hook.server_port}/${{HOOK_PATH}}")
    with pytest.raises(ConfigurationError, match=r"^channel some: \$\{HOOK_PATH\} is not set"):
        one.send_text(TEXT)
    monkeypatch.setenv("HOOK_PATH", "hidden/path")
    one.send_text(TEXT)
    assert [got["path"] for got in hook.got] == ["/hidden/path"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://topsecret", "got a URL that Apprise cannot use"),
        ("mailto://127.0.0.1/a@example.org/topsecret@example.org?from=c@example.org", "got a URL with 2 recipients"),
        ("json://127.0.0.1/topsecret?retry=2", "got a URL with 3 recipients or retries"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, message: str, logged: list[str]) -> None:
    with pytest.raises(ConfigurationError, match=f"^channel some: {message}") as error:
        channel(url).send_text(TEXT)
    assert "topsecret" not in "\n".join([str(error.value), *logged])


def test_a_test_message_goes_to_the_named_channel_with_its_result(tmp_path: Path, hook: Hook, free_port: int) -> None:
    good, bad = f"json://127.0.0.1:{hook.server_port}/secret", "json://127.0.0.1:9/secret"
    alerts = dispatcher(tmp_path, good=good, bad=bad)
    one, other = alerts.test()
    assert (one.channel, one.address, one.problem) == ("good", f"json://127.0.0.1:{hook.server_port}", None)
    assert other.problem
    assert [got["title"] for got in hook.got] == ["[test] alerts of Tradewind"]
    assert [result.channel for result in alerts.test("bad")] == ["bad"]
    with pytest.raises(UnknownNameError, match="unknown channel 'god'; choose from bad, good; did you mean good"):
        alerts.test("god")


def test_the_log_has_a_line_of_json_for_each_alert(
    make_platform: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    platform = make_platform()
    with caplog.at_level(logging.INFO, "tradewind.alerts"):
        for dataset in ("a", "b\nc"):
            platform.alert(title="prices → 9", dataset=dataset, severity="info")
        platform.round()
    lines = [json.loads(line) for line in platform.log_file.read_text().splitlines()]
    assert [line["dataset"] for line in lines] == ["a", "b\nc"]
    assert lines[0]["title"] == "prices → 9"
    assert lines[0]["key"] == "drift/a"
    assert lines[0]["runbook"] == "docs/alerts.md#drift"
    assert datetime.fromisoformat(lines[0]["at"]) == NOON
    assert caplog.records[0].getMessage() == "a: prices → 9 (prices moved)"


def test_a_log_that_cannot_be_written_is_tried_again(platform: Any, tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where a folder should be")
    platform.alert()
    assert platform.round().failed == 1
    (tmp_path / "logs").unlink()
    platform.wait(minutes=1)
    platform.round()
    assert len(platform.log_file.read_text().splitlines()) == 1
    assert isinstance(platform.channels["log"], LogChannel)
