"""Holds one service on a leash: when the supervisor ends, in whatever way, the service's whole tree ends.

Run as a script by the supervisor: `python -P leash.py PIPE GRACE COMMAND...`. PIPE is the read end of a pipe
whose only write end the supervisor holds, so it closes on exit, exception, SIGINT, SIGTERM and SIGKILL alike.
Imports nothing of ours: one such process lives beside every service.
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
UNKILLABLE_S = 10.0  # whoever outlives SIGKILL by this is stuck in the kernel
TICK_S = 0.05


class Tree:
    """All that descends from this process, daemons that left the group and lost their parent included."""

    def __init__(self) -> None:
        self.adopts = sys.platform == "linux" and adopt_orphans()
        self._known: set[psutil.Process] = set()

    def members(self) -> set[psutil.Process]:
        """The descendants now alive. Where orphans go to init instead of us, those seen earlier are added."""
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
                # The kernel's word: a walk over /proc can miss a process that changes parent meanwhile.
                return code, not self.adopts and bool(self.members())
            if ended == 0:
                return code, True
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)

    def end(self, grace: float) -> None:
        """SIGTERM to everyone once, SIGKILL to those left after `grace` seconds; returns when none is."""
        told: set[psutil.Process] = set()
        deadline = time.monotonic() + grace
        while self.reap()[1]:
            late = time.monotonic() - deadline
            if late > UNKILLABLE_S:
                print(f"leash: {len(self.members())} processes survived SIGKILL; giving up", file=sys.stderr)
                return
            members = self.members()
            for process in members if late >= 0 else members - told:
                tell(process, signal.SIGKILL if late >= 0 else signal.SIGTERM)
            told |= members
            time.sleep(TICK_S)


def adopt_orphans() -> bool:
    """Whether the kernel will hand us every descendant whose parent dies (Linux only)."""
    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def tell(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal; a process that has just ended, or that another user owns, is left alone."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        print(f"leash: not allowed to end pid {process.pid}; it belongs to another user", file=sys.stderr)


def listen() -> int:
    """A descriptor that becomes readable, one byte a signal, when a child ends or we are told to end.

    Handlers, not ignored signals: only handlers fall back to the default in the service. A shell that started
    us in the background leaves SIGINT ignored, Dagster copies that to SIGTERM, and only SIGKILL would end it.
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
    """Wait until the service ends (its exit code), or the supervisor does, or we are told to end (0)."""
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
            tree.members()  # remember them while they can still be found


def hold(pipe: int, grace: float, command: list[str]) -> int:
    """Run the command until it or the supervisor ends, then end what is left of its tree; its exit code."""
    os.set_inheritable(pipe, False)
    signals, tree = listen(), Tree()
    try:
        service = subprocess.Popen(command, start_new_session=True)
    except OSError as error:
        print(f"leash: cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    code = watch(tree, service.pid, pipe, signals)
    tree.end(grace)
    service.returncode = code  # reaped above; Popen need not look for it
    return code


if __name__ == "__main__":
    sys.exit(hold(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
