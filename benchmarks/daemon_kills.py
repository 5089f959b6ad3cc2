"""Drill of the daemon: is each cause acted on once, and does each alert arrive, when the daemon is killed by SIGKILL?

    python benchmarks/daemon_kills.py [--drills points queue] [--quick] [--json]

A real Dagster instance, with the platform's sensors, its queue and its retrainings on a small simulated market, gets
one cause after another: new files, drift, a run that failed, a run that lost its process, a champion that is worse than
the version before, an alert of another process. A daemon is killed at a point; then another one goes on until nothing
is left to do. points: each point of a tick by itself, and all points of a retraining's tick one after another. At the
points within a sensor the code server is killed, too. queue: between the queue of runs and the process of a run.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from dagster._grpc.client import DagsterGrpcClient
from measuring import result_table
from measuring.daemon import causes, killed_daemon, points
from measuring.daemon.causes import Expected, Outcome
from measuring.daemon.killed_daemon import QUEUE_POINTS, REACTION_POINT, SENSOR_POINTS, TICK_POINTS, in_fork, run_daemon
from service_load import free_port

from orchestration.launcher.runs import materialise
from orchestration.settings import Settings
from recommenders.simulation.market_files import write_world
from serving.settings import PROJECT

SCALE = 0.02  # 40 buyers
MODELS = ("popularity", "repurchase")
START_SECONDS = 120.0
CODE_SERVER = Path(points.__file__).with_name("code_server.py")

Cause = Callable[[Settings, int], Expected]


@dataclass(frozen=True)
class Kills:
    """A cause, the sensor that acts on it, and the points at which daemons are killed, one after another."""

    cause: Cause
    sensor: str
    points: tuple[str, ...]


def single(cause: Cause, sensor: str, points: Sequence[str]) -> list[Kills]:
    """One kill for each cause."""
    return [Kills(cause, sensor, (point,)) for point in points]


def at_points() -> list[Kills]:
    """Every point by itself, then all points of the tick that starts a retraining in one cause."""
    alert = ("alert stored", "message accepted", "alert sent")
    return [
        *single(causes.new_data, "new_data", (*SENSOR_POINTS, "new data found")),
        *single(causes.drift, "monitoring", (*SENSOR_POINTS, "retraining decided")),
        Kills(causes.new_data, "new_data", ("new data found", *SENSOR_POINTS)),
        Kills(causes.drift, "monitoring", ("retraining decided", *SENSOR_POINTS)),
        *single(causes.failed_run, "failed_runs", (*TICK_POINTS, *alert, REACTION_POINT)),
        *single(causes.lost_run, "lost_runs", (*TICK_POINTS, "lost run marked")),
        *single(causes.bad_champion, "rollback", (*TICK_POINTS, *alert, "champion marked", "champion replaced")),
        *single(causes.stored_alert, "alerts", (*TICK_POINTS, "message made", "message accepted")),
    ]


def at_queue() -> list[Kills]:
    """Between the queue and the process of a run."""
    return [*single(causes.new_data, "", QUEUE_POINTS), *single(causes.drift, "", QUEUE_POINTS)]


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    drills = {"points": partial(drill, "points", at_points()), "queue": partial(drill, "queue", at_queue())}
    result_table.run_parts("daemon_kills", __doc__, "--drills", drills)


@dataclass
class Platform:
    """A platform with a champion, and its code server, which is started again when it was killed."""

    settings: Settings
    port: int
    server: "subprocess.Popen[bytes] | None" = None

    def ensure_server(self) -> "subprocess.Popen[bytes]":
        """The code server; it is started if none is running."""
        if self.server is not None and self.server.poll() is None:
            return self.server
        where = ("-h", "127.0.0.1", "-p", str(self.port), "--location-name", killed_daemon.LOCATION)
        code = ("-f", str(CODE_SERVER), "-a", "defs", "-d", str(Path(__file__).parent))
        with (self.settings.home / "code_server.log").open("ab") as log:
            command = [sys.executable, "-m", "dagster", "api", "grpc", *where, *code]
            self.server = subprocess.Popen(command, stdout=log, stderr=log, cwd=PROJECT)
        began = time.monotonic()
        while in_fork(partial(is_ready, self.port))[1] is not True:
            if time.monotonic() - began > START_SECONDS or self.server.poll() is not None:
                raise RuntimeError(f"the code server does not start; see {self.settings.home / 'code_server.log'}")
            time.sleep(0.5)
        return self.server

    def daemon(self, sensor: str = "", point: str = "", rounds: int = 0) -> bool:
        """A daemon; whether it was killed. At a point of the code server, that one is killed, too."""
        server = self.ensure_server()
        killed = in_fork(partial(run_daemon, self.settings, self.port, sensor, point, rounds))[0] == signal.SIGKILL
        if killed and point in points.POINTS:
            server.wait()
        return killed

    def drill(self, kills: Kills, number: int) -> Outcome:
        """Makes a cause, kills a daemon at each point, lets another one finish, and looks at what happened."""
        before = in_fork(partial(causes.retrainings, self.settings))[1]
        made = in_fork(lambda: vars(kills.cause(self.settings, number)))[1]
        if kills.cause is causes.new_data:
            self.daemon(rounds=1)  # finds changed files, and waits until they stay the same
        killed = sum(self.daemon(kills.sensor, point, killed_daemon.KILLED_ROUNDS) for point in kills.points)
        (self.settings.home / points.ARMED).unlink(missing_ok=True)
        self.daemon()
        name = f"{kills.cause.__name__}: {', '.join(kills.points)}"
        return Outcome(**in_fork(lambda: causes.outcome(self.settings, name, Expected(**made), before, killed))[1])


def is_ready(port: int) -> bool:
    """Whether a code server answers."""
    try:
        DagsterGrpcClient(host="127.0.0.1", port=port).ping("ready?")
    except Exception:
        return False
    return True


@contextmanager
def platform() -> Iterator[Platform]:
    """A platform on a market of 40 buyers, with four versions, whose sensors have made their first poll."""
    with TemporaryDirectory() as name:
        home = Path(name)
        write_world(home / "market", SCALE, 42, [])
        config = yaml.safe_load((PROJECT / "configs" / "training.yaml").read_text())
        for model, section in config["models"].items():
            section["enabled"] = model in MODELS
        config["evaluation"]["n_resamples"] = 100
        (home / "training.yaml").write_text(yaml.safe_dump(config))
        (home / "alerts.yaml").write_text("channels: []\n")
        settings = Settings.read(
            home=home,
            config=home / "training.yaml",
            alerts_file=home / "alerts.yaml",
            dataset="custom_b2b",
            source=home / "market",
            sensor_seconds=1,
            cool_down_hours=0.0,
        )
        os.environ.update(settings.environment())
        in_fork(lambda: materialise(settings).run_id)
        in_fork(partial(causes.publish_versions, settings, 3))
        started = Platform(settings, free_port())
        try:
            started.daemon()
            yield started
        finally:
            if started.server is not None:
                started.server.kill()
                started.server.wait()


def drill(name: str, kills: Sequence[Kills], quick: bool) -> Iterator[dict[str, Any]]:
    """All kills of a drill on one platform."""
    outcomes, kills = list[Outcome](), kills[:1] if quick else kills
    with platform() as started:
        for number, one in enumerate(kills):
            outcomes.append(started.drill(one, number))
            print(outcomes[-1], file=sys.stderr, flush=True)
        unsent = in_fork(partial(causes.unsent, started.settings))[1]
    for row in rows(outcomes, sum(len(one.points) for one in kills), unsent):
        yield {**row, "what": f"{name}: {row['what']}"}


def rows(outcomes: Sequence[Outcome], n_points: int, unsent: int) -> Iterator[dict[str, Any]]:
    """The rows of a drill. n_points: where a daemon had to be killed. unsent: alerts that are still in the outbox."""
    started = [one for one in outcomes if one.wanted]
    alerts, doubled = sum(one.alerts for one in outcomes), sum(one.doubled for one in outcomes)
    once = sum(one.runs == one.right == one.ended == 1 for one in started)
    yield result_table.row("daemons killed", "kills", sum(one.kills for one in outcomes), floor=n_points)
    yield result_table.row("causes of a retraining: one run, which ended", "causes", once, floor=len(started))
    yield most("causes of a retraining: no run", "causes", sum(one.runs == 0 for one in started))
    yield most("causes with a run too many", "causes", sum(one.runs > one.wanted for one in outcomes))
    yield most("causes after which another version serves than should", "causes", sum(not o.champion for o in outcomes))
    yield most("alerts lost", "alerts", sum(one.lost for one in outcomes) + unsent, f"of {alerts}")
    surplus = max((one.doubled - one.kills for one in outcomes), default=0)
    yield most("alerts that came twice, beyond one for each kill", "alerts", max(surplus, 0), f"{doubled} came twice")


def most(what: str, unit: str, ours: float, note: str = "") -> dict[str, Any]:
    """A row of something that must not happen."""
    return result_table.row(what, unit, ours, floor=0, lower_is_better=True, note=note)


if __name__ == "__main__":
    main()
