"""The points within sensors at which the code server kills the daemon and itself by SIGKILL.

The file `armed.json` below TRADEWIND_HOME names a point and the daemon's process.
"""

import json
import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import dagster as dg

from monitoring.alerts import dispatcher
from monitoring.alerts.channels import LogChannel
from monitoring.alerts.dispatcher import AlertDispatcher
from monitoring.alerts.outbox import Outbox
from orchestration.sensors import monitoring, new_data
from serving.release.registry import Registry

ARMED = "armed.json"
POINTS: dict[str, tuple[Any, str]] = {  # name -> the function after which the processes end
    "retraining decided": (monitoring, "decide"),
    "new data found": (new_data, "new_data_request"),
    "lost run marked": (dg.DagsterInstance, "report_run_failed"),
    "alert stored": (Outbox, "append"),
    "message made": (dispatcher, "plan"),
    "message accepted": (LogChannel, "send"),
    "alert sent": (AlertDispatcher, "send"),
    "champion marked": (Registry, "set_tags"),
    "champion replaced": (Registry, "rollback"),
}


def kill_after(owner: Any, name: str, kill: Callable[[], None]) -> None:
    """Calls `kill` each time that a function has returned."""
    function = getattr(owner, name)

    @wraps(function)
    def killing(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        kill()
        return result

    setattr(owner, name, killing)


def kill_if_armed(point: str) -> None:
    """Kills the daemon and this process if the file names this point."""
    file = Path(os.environ["TRADEWIND_HOME"]) / ARMED
    if file.exists() and (armed := json.loads(file.read_text()))["point"] == point:
        file.unlink()
        os.kill(armed["daemon"], signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
