"""Processes that raise and send alerts, and kill themselves with SIGKILL at a named point.

    python killed_senders.py OUTBOX_URL CONFIG LOG_FILE < JOBS

A job is one line of JSON: {"ids", "point", "skip", "hours"}. A forked process stores an alert for each id, then makes
rounds. At the point, after as many other passes as `skip`, it ends by SIGKILL. hours: how far its clock is ahead; so a
lease of an earlier process is over, and the waits after failures as well. The answer is one line of JSON: the signal
that ended the process (0: it finished) and the number of ids whose append returned.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from monitoring.alerts import dispatcher, planning
from monitoring.alerts.alert import Alert
from monitoring.alerts.channels import AppriseChannel
from monitoring.alerts.configuration import ChannelConfig
from monitoring.alerts.dispatcher import AlertDispatcher
from monitoring.alerts.outbox import Outbox
from recommenders.clock import now

POINTS: dict[str, tuple[Any, str]] = {  # name -> the function after which the process ends
    "alert stored, nothing else": (Outbox, "append"),
    "policy applied, not committed": (planning, "_make_messages"),
    "message made": (dispatcher, "plan"),
    "message leased, not sent": (Outbox, "lease"),
    "message accepted by the server, not marked": (AppriseChannel, "send"),
    "message marked as sent": (Outbox, "mark_sent"),
}
MOST_SKIPPED = {"policy applied, not committed": 2, "message made": 1}  # passes of these points in a process
MAIL_ONLY = ("message leased, not sent", "message marked as sent")  # not at the messages of the log


def kill_after(point: str, skip: int) -> None:
    """The process ends by SIGKILL when the function of a point has returned for the (skip + 1)th time."""
    owner, name = POINTS[point]
    function: Callable[..., Any] = getattr(owner, name)
    passes = 0

    def killing(*arguments: Any, **options: Any) -> Any:
        nonlocal passes
        result = function(*arguments, **options)
        message = result if name == "lease" else arguments[1] if name == "mark_sent" else None
        if point not in MAIL_ONLY or (message is not None and message.channel != "log"):
            passes += 1
            if passes > skip:
                os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, killing)


def run(alerts: AlertDispatcher, job: dict[str, Any], stored: int) -> None:
    """One process: stores the alerts, then sends until nothing is due. stored: a pipe, a byte for each alert."""
    alerts.clock = lambda: now() + timedelta(hours=job["hours"])
    if job["point"]:
        kill_after(job["point"], job["skip"])
    for one in job["ids"]:
        alerts.outbox.append(Alert(f"drift in {one}", "", "critical", "drift", dataset=one, id=one, at=alerts.clock()))
        os.write(stored, b".")
    while alerts.deliver().sent:
        pass


def main() -> None:
    """Runs each job in a forked process, and prints how it ended."""
    url, config, log_file = sys.argv[1:4]
    AlertDispatcher(url, Path(config), Path(log_file)).deliver()  # makes the tables
    AppriseChannel(ChannelConfig(name="any", url="json://localhost")).address()  # imports Apprise's services
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            run(AlertDispatcher(url, Path(config), Path(log_file)), json.loads(line), write)
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            stored = len(pipe.read())
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"signal": -ended, "stored": stored}), flush=True)


if __name__ == "__main__":
    main()
