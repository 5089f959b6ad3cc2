"""Drills of the alerts: does each arrive, and does one arrive twice, when the mail server fails and senders are killed?

    python benchmarks/alerts.py [--drills failing_server kills] [--quick] [--json]

failing_server: 1,000 alerts are raised and sent as mails by a server of the script's own, which does not accept 30 % of
them: it refuses the sender, the recipient or the content, or it closes the connection. kills: the same, and 60 senders
are killed by SIGKILL, 10 at each of six points between raising an alert and marking its message as sent. The clock of
each sender is two hours ahead of the one before it, so that no waiting time is really waited for.
"""

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from measuring import result_table
from measuring.service import killed_senders
from measuring.service.mail_server import Mailbox, mail_server

from serving.settings import PROJECT

FAILING = 0.3
HOURS = 2  # between the clocks of two senders: more than a lease, and than the longest wait after a failure
MAX_ROUNDS = 60
SENDER = Path(killed_senders.__file__)


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    drills = {"failing_server": failing_server, "kills": kills}
    result_table.run_parts("alerts", __doc__, "--drills", drills)


class Senders:
    """The process that forks senders, with the outbox of a folder. Each sender's clock is ahead of the last one's."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self._hours = process, 0

    def run(self, ids: list[str], point: str = "", skip: int = 0) -> dict[str, int]:
        """One sender: the signal that ended it, and how many of the alerts it had stored."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._hours += HOURS
        job = {"ids": ids, "point": point, "skip": skip, "hours": self._hours}
        print(json.dumps(job), file=self._process.stdin, flush=True)
        found: dict[str, int] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def senders(mailbox: Mailbox) -> Iterator[Senders]:
    """Senders to a mail server of this process; each alert is a mail of its own."""
    with TemporaryDirectory() as name, mail_server(mailbox) as url:
        folder = Path(name)
        channel = {"name": "mail", "url": url, "minimum": "info"}
        content = {"channels": [channel], "group_seconds": 0, "per_hour": None}
        (folder / "alerts.yaml").write_text(yaml.safe_dump(content))
        paths = [f"sqlite:///{folder / 'outbox.db'}", folder / "alerts.yaml", folder / "alerts.jsonl"]
        command = [sys.executable, str(SENDER), *map(str, paths)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=PROJECT
        )
        try:
            yield Senders(process)
        finally:
            process.communicate()


def send_the_rest(started: Senders, mailbox: Mailbox, n: int) -> int:
    """Senders that are not killed, until n alerts have arrived, and one more; their number."""
    for rounds in range(1, MAX_ROUNDS + 1):  # noqa: B007
        started.run([])
        if len(arrivals(mailbox)) >= n:
            break
    started.run([])  # sends again what would be sent again
    return rounds + 1


def arrivals(mailbox: Mailbox) -> Counter[str]:
    """Data set of an alert -> how often it arrived; each alert has a data set of its own."""
    return Counter(subject.rpartition(" ")[2] for subject, _ in mailbox.accepted)


def failing_server(quick: bool) -> Iterator[dict[str, Any]]:
    """No sender is killed."""
    mailbox, ids = Mailbox(FAILING), [f"shop{n}" for n in range(10 if quick else 1000)]
    with senders(mailbox) as started:
        started.run(ids)
        n_senders = 1 + send_the_rest(started, mailbox, len(ids))
    found = arrivals(mailbox)
    note = f"{len(mailbox.accepted):,} mails, {mailbox.failures:,} failures, {n_senders} senders"
    yield row(f"{len(ids):,} alerts, the server fails: lost", len(set(ids) - set(found)), 0, note)
    yield row(f"{len(ids):,} alerts, the server fails: arrived twice", found.total() - len(found), 0, note)


def kills(quick: bool) -> Iterator[dict[str, Any]]:
    """A sender is killed; other senders go on until all of its alerts have arrived; then the next one is killed."""
    rng, mailbox, ids = random.Random(2), Mailbox(FAILING, seed=1), list[str]()
    n_kills, n_alerts = (6, 2) if quick else (60, 17)
    killed, doubled = Counter[str](), list[int]()
    with senders(mailbox) as started:
        while killed.total() < n_kills:
            point = list(killed_senders.POINTS)[killed.total() % len(killed_senders.POINTS)]
            batch = [f"shop{len(ids) + n}" for n in range(n_alerts)]
            ids += batch
            result = started.run(batch, point, rng.randrange(killed_senders.MOST_SKIPPED.get(point, n_alerts // 2)))
            killed[point] += result["signal"] == signal.SIGKILL  # failures may keep a sender from its point
            started.run(batch[result["stored"] :])  # these were not acknowledged, so they are raised again
            send_the_rest(started, mailbox, len(ids))
            found = arrivals(mailbox)
            doubled.append(found.total() - len(found) - sum(doubled))
    note = f"{killed.total()} kills, {mailbox.failures:,} failures; {sum(doubled)} arrived twice"
    yield row(f"{len(ids):,} alerts, senders are killed: lost", len(set(ids) - set(found)), 0, note)
    yield row(f"{len(ids):,} alerts, senders are killed: most that one kill doubled", max(doubled), 1, note)


def row(what: str, ours: float, floor: float, note: str) -> dict[str, Any]:
    """A row whose floor is the most that may happen."""
    return result_table.row(what, "alerts", ours, floor=floor, lower_is_better=True, note=note)


if __name__ == "__main__":
    main()
