"""Runs services as one group: starts them together, restarts those that fail, ends them with this process.

Each service runs in its own session (a Ctrl-C in the terminal reaches only this process) under a process guard
(process_guard.py), which ends its whole tree when this process ends for any reason, SIGKILL included.
"""

import contextlib
import errno
import http.client
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from recommenders.errors import ConfigurationError, TradewindError

GUARD = Path(__file__).with_name("process_guard.py")
POLL_S = 0.1
LOG = logging.getLogger("tradewind.supervisor")


class ServiceError(TradewindError):
    """A service that does not start, or does not stay up."""


@dataclass(frozen=True)
class Service:
    """One program that stays in the foreground (one that puts itself in the background counts as ended).

    env is added to the environment; log is appended to; ready_url answers below 400 once the service can be used (None:
    ready at once).
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    ready_url: str | None = None
    cwd: Path | None = None


@dataclass(frozen=True)
class Failure:
    """A service that is not restarted any more: it ended `restarts` + 1 times."""

    name: str
    code: int
    restarts: int
    log: Path
    tail: str

    def __str__(self) -> str:
        last = self.tail.splitlines()[-1].strip() if self.tail else "it wrote nothing"
        return f"{self.name} ended with code {self.code} ({self.restarts} restarts): {last}; see {self.log}"


@dataclass
class _Run:
    """A service and its state."""

    service: Service
    process: subprocess.Popen[bytes] | None = None
    pipe: int = -1
    started: float = 0.0
    restarts: int = 0
    due: float | None = None  # when to start again
    failure: Failure | None = None
    log_start: int = 0  # where in the log this start begins, in bytes


class Supervisor:
    """Starts, watches, restarts and ends services; as a context manager it ends them on leaving.

    A service is restarted max_restarts times in a row, after backoff, 2 backoff, 4 backoff ... seconds; after
    `stable` seconds up its count starts again. grace: seconds between SIGTERM and SIGKILL.
    Call from one thread.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        grace: float = 8.0,
        max_restarts: int = 3,
        backoff: float = 1.0,
        stable: float = 60.0,
    ) -> None:
        names = [service.name for service in services]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigurationError(f"services need different names; got {', '.join(twice)} more than once")
        self._runs = {service.name: _Run(service) for service in services}
        self._grace, self._max_restarts, self._backoff, self._stable = grace, max_restarts, backoff, stable

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Starts every service that is not running; returns at once."""
        for run in self._runs.values():
            if run.process is None and run.failure is None:
                self._launch(run)
        return self

    def wait_ready(self, timeout: float, on_ready: Callable[[Service, float], None] | None = None) -> None:
        """Waits until every ready_url answers; calls on_ready(service, seconds since its start) for each.

        Raises ServiceError if a service is not restarted any more, or is not ready in `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        waiting = dict(self._runs)
        while True:
            if failures := self.poll():
                raise ServiceError("; ".join(map(str, failures)))
            for name, run in list(waiting.items()):
                if run.process is not None and answers(run.service.ready_url):
                    del waiting[name]
                    if on_ready is not None:
                        on_ready(run.service, time.monotonic() - run.started)
            if not waiting:
                return
            if time.monotonic() >= deadline:
                late = [f"{name} (see {run.service.log})" for name, run in waiting.items()]
                raise ServiceError(f"not ready after {timeout:g} s: {', '.join(late)}")
            time.sleep(POLL_S)

    def poll(self) -> tuple[Failure, ...]:
        """Restarts failed services that are due; returns those not restarted any more. Call it about every second."""
        for run in self._runs.values():
            if run.process is not None and run.process.poll() is not None:
                self._handle_exit(run, run.process.returncode)
            if run.due is not None and time.monotonic() >= run.due:
                self._launch(run)
        return tuple(run.failure for run in self._runs.values() if run.failure is not None)

    def stop(self) -> None:
        """Ends all services in parallel; returns when their trees have ended, soon after `grace` at most."""
        for run in self._runs.values():
            run.due = None
            self._close_pipe(run)
        for run in self._runs.values():
            if run.process is not None:
                self._await_guard(run.service.name, run.process)
                run.process = None

    def pids(self) -> dict[str, int]:
        """The process id of each running service's guard; its children are the service."""
        return {name: run.process.pid for name, run in self._runs.items() if run.process is not None}

    def _launch(self, run: _Run) -> None:
        service, run.due = run.service, None
        service.log.parent.mkdir(parents=True, exist_ok=True)
        # os.pipe is close-on-exec: if a service had the write end too, no guard would notice the end of this process.
        read, run.pipe = os.pipe()
        try:
            with service.log.open("ab") as log:
                run.log_start = log.tell()
                run.process = subprocess.Popen(
                    [sys.executable, "-P", str(GUARD), str(read), str(self._grace), *service.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **service.env},
                    cwd=service.cwd,
                    pass_fds=(read,),
                    start_new_session=True,
                )
        finally:
            os.close(read)
        run.started = time.monotonic()

    def _handle_exit(self, run: _Run, code: int) -> None:
        run.process = None
        self._close_pipe(run)
        if time.monotonic() - run.started >= self._stable:
            run.restarts = 0
        if run.restarts >= self._max_restarts:
            log = run.service.log
            run.failure = Failure(run.service.name, code, run.restarts, log, tail(log, run.log_start))
            LOG.error("%s", run.failure)
            return
        pause = self._backoff * 2**run.restarts
        run.restarts += 1
        run.due = time.monotonic() + pause
        LOG.warning("%s ended with code %d; starting it again in %g s", run.service.name, code, pause)

    def _await_guard(self, name: str, guard: "subprocess.Popen[bytes]") -> None:
        try:
            guard.wait(self._grace + 15)
        except subprocess.TimeoutExpired:
            LOG.error("%s: its process guard, pid %d, has not ended; some of its processes may remain", name, guard.pid)

    @staticmethod
    def _close_pipe(run: _Run) -> None:
        if run.pipe >= 0:
            os.close(run.pipe)
            run.pipe = -1


def answers(url: str | None) -> bool:
    """Whether the URL answers below 400 within two seconds, without a proxy. No URL: True."""
    if url is None:
        return True
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return True
    except (OSError, http.client.HTTPException):  # URLError is an OSError
        return False


def tail(log: Path, start: int = 0, lines: int = 20) -> str:
    """The last lines a service wrote to its log at or after byte `start`."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start if start <= size else 0, size - 200 * lines))  # a pruned log begins anew
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def ensure_free(host: str, port: int, name: str) -> None:
    """Raises ConfigurationError, with the process that uses it, if the port is not free."""
    setting = f"TRADEWIND_{name.upper()}_PORT"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # With this option a closing connection does not block the port; a listener does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fault = f"port {port} ({name}) is taken by {holder(port)}; stop it or set {setting}"
        else:
            why = error.strerror or error
            fault = f"{name} cannot listen on {host}:{port}: {why}; set TRADEWIND_HOST or {setting}"
        raise ConfigurationError(fault) from error


def holder(port: int) -> str:
    """The process that listens on a TCP port: "pid 1234 (python)", or "another process" if it is not known."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.laddr or not connection.pid:
                continue
            if connection.laddr[1] == port:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "another process"
