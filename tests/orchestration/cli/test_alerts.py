"""`tradewind alerts`: what a person sees, and does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring.service.mail_server import Mailbox, mail_server

from monitoring.alerts.alert import Alert
from monitoring.alerts.dispatcher import AlertDispatcher


def test_problems_are_listed_and_mended(tmp_path: Path, run_here: Any, pick_port: Callable[[], int]) -> None:
    mailbox, home, file = Mailbox(failing=1.0), tmp_path / "home", tmp_path / "alerts.yaml"

    def tradewind(*words: str) -> Any:
        return run_here("alerts", *words, home=home, TRADEWIND_ALERTS_FILE=str(file))

    with mail_server(mailbox, pick_port()) as url:
        file.write_text(
            json.dumps({"channels": [{"name": "mail", "url": url}], "group_seconds": 0, "retry": {"attempts": 1}})
        )
        refused = tradewind("test")
        assert (refused.returncode, refused.stdout[:5]) == (1, "mail ")
        outbox = f"sqlite:///{home / 'alerts' / 'outbox.db'}"  # where the platform has it
        AlertDispatcher(outbox, file, home / "logs" / "alerts.jsonl").send(
            Alert("drift in toy", "prices moved", "warning", "drift", "toy")
        )
        lines = tradewind("list").stdout.splitlines()
        assert lines[0].startswith("open       warning   drift in toy  [drift/toy]  since 20")
        assert lines[1] == "channel    log       1 sent"
        assert lines[2].startswith("channel    mail      1 failed: ")
        assert lines[3].endswith(" warning   drift in toy")
        mailbox.failing = 0.0
        assert tradewind("deliver").stdout == "0 messages sent, 0 not accepted\n"
        assert tradewind("deliver", "--failed").stdout == "1 messages sent, 0 not accepted\n"
        assert tradewind("resolve", "drift/toy").returncode == 0
        accepted = tradewind("test", "--channel", "mail")
        assert accepted.stdout.startswith("mail         accepted by mailto://127.0.0.1:")
    titles = [title for title, _ in mailbox.accepted]
    assert titles == ["[warning] drift in toy", "[resolved] drift in toy", "[test] alerts of Tradewind"]
    found = json.loads(tradewind("list", "--json").stdout)
    assert found["incidents"] == []
    assert [(one["name"], one["sent"]) for one in found["channels"]] == [("log", 2), ("mail", 2)]
    assert [one["kind"] for one in found["alerts"]] == ["resolved", "alert"]


def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, run_here: Any) -> None:
    unknown = run_here("alerts", "resolve", "drift/toy", home=tmp_path)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    assert "got 'drift/toy'; allowed: the key of an open incident: none is open" in unknown.stderr
    empty = run_here("alerts", "test", home=tmp_path)
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "alerts.yaml has no channels: alerts are in `tradewind alerts list`" in empty.stderr
