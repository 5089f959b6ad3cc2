"""Sent alerts can be read again."""

import logging
from datetime import UTC, datetime

import pytest

from monitoring.alerts import Alert, recent, send
from recommenders.errors import DataError

ALERT = Alert("prices moved", "median 6 → 9", "warning", "drift:x", "toy", datetime(2026, 1, 2, 3, 4, tzinfo=UTC))


def test_recent_returns_the_newest_first(tmp_path, caplog):
    log = tmp_path / "alerts" / "alerts.jsonl"
    assert recent(log, 3) == []
    others = [Alert(f"line\n{n}", "", "info", "k", "toy") for n in range(4)]
    with caplog.at_level(logging.INFO, "tradewind.alerts"):
        for alert in [*others, ALERT]:
            send(alert, log)
    assert recent(log, 2) == [ALERT, others[-1]]
    assert len(recent(log, 99)) == 5
    assert len(log.read_text().splitlines()) == 5
    last = caplog.records[-1]
    assert (last.name, last.levelno) == ("tradewind.alerts", logging.WARNING)
    assert last.getMessage() == "toy: prices moved (median 6 → 9)"


@pytest.mark.parametrize("line", ["{torn", '{"title": "no time"}', "[]"])
def test_an_invalid_line_raises_with_its_number(tmp_path, line):
    log = tmp_path / "alerts.jsonl"
    send(ALERT, log)
    with log.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"alerts\.jsonl line 2 is not an alert: .+; remove the line$"):
        recent(log, 5)
