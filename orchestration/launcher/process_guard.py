"""Guards one service: when the supervisor ends for any reason, the guard ends the service and all its descendants.

The supervisor runs it as a script: `python -P process_guard.py PIPE GRACE COMMAND...`. PIPE is the read end of a
pipe. Only the supervisor has its write end, so it closes on exit, exception, SIGINT, SIGTERM and SIGKILL alike.
Imports nothing of this project, because one guard process runs for every service.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

import psutil

PR_SET_CHILD_SUBREAPER = 36
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
UNKILLABLE_S = 10.0  # a process that still runs after SIGKILL and this time hangs in the kernel
TICK_S = 0.05


class Tree:
    """All descendants of this process, including daemons that left the group and lost their parent."""

    def __init__(self) -> None:
        self.adopts = sys.platform == "linux" and adopt_orphans()
        self._known: set[psutil.Process] = set()

    def members(self) -> set[psutil.Process]:
        """The live descendants. Where orphans go to init and not to this process, those seen earlier are added."""
        found = set(psutil.Process().children(recursive=True))
        if not self.adopts:
            self._known = {process for process in self._known | found if process.is_running()}
            return self._known
        return found

    def reap(self, pid: int = 0) -> tuple[int | None, bool]:
        """(exit code of `pid` if it ended just now, whether anything is left); collects every ended child."""
        code = None
        while True:
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                # The kernel knows for sure: a walk over /proc can miss a process that changes its parent meanwhile.
                return code, not self.adopts and bool(self.members())
            if ended == 0:
                return code, True
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)

    def end(self, grace: float) -> None:
        """Sends SIGTERM to each process once, SIGKILL to the rest after `grace` seconds; returns when all ended."""
        signalled: set[psutil.Process] = set()
        deadline = time.monotonic() + grace
        while self.reap()[1]:
            late = time.monotonic() - deadline
            if late > UNKILLABLE_S:
                print(f"process guard: {len(self.members())} processes survived SIGKILL; giving up", file=sys.stderr)
                return
            members = self.members()
            for process in members if late >= 0 else members - signalled:
                send_signal(process, signal.SIGKILL if late >= 0 else signal.SIGTERM)
            signalled |= members
            time.sleep(TICK_S)


def adopt_orphans() -> bool:
    """Makes this process the parent of all orphaned descendants; returns whether the kernel agreed (Linux only)."""
    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def send_signal(process: psutil.Process, number: signal.Signals) -> None:
    """Sends a signal; ignores a process that has just ended or belongs to another user."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        print(f"process guard: not allowed to end pid {process.pid}; it belongs to another user", file=sys.stderr)


def signal_pipe() -> int:
    """A file descriptor with one byte per signal: when a child ends, or when this process gets a signal to end.

    Sets handlers and does not ignore signals: only handlers go back to the default in the service. A shell that
    starts us in the background ignores SIGINT, Dagster copies that to SIGTERM, and only SIGKILL would end it.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (*ENDING, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return read


def watch(tree: Tree, pid: int, pipe: int, signals: int) -> int:
    """Waits until the service ends (returns its exit code), or the supervisor ends or a signal comes (returns 0)."""
    while True:
        ready, _, _ = select.select([pipe, signals], [], [], None if tree.adopts else 1.0)
        if pipe in ready and not os.read(pipe, 1):
            return 0
        if signals in ready and set(os.read(signals, 4096)) & set(ENDING):
            return 0
        code, _ = tree.reap(pid)
        if code is not None:
            return code if code >= 0 else 128 - code
        if not tree.adopts:
            tree.members()  # store them while they can still be found


def guard(pipe: int, grace: float, command: list[str]) -> int:
    """Runs the command until it or the supervisor ends, then ends the rest of its tree; returns its exit code."""
    os.set_inheritable(pipe, False)
    signals, tree = signal_pipe(), Tree()
    try:
        service = subprocess.Popen(command, start_new_session=True)
    except OSError as error:
        print(f"process guard: cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    code = watch(tree, service.pid, pipe, signals)
    tree.end(grace)
    service.returncode = code  # reaped above; Popen must not wait for it
    return code


if __name__ == "__main__":
    sys.exit(guard(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
