"""File locks; the operating system releases them when the process ends.

One is for one process at a time. The other marks a file as in use by any number of processes.
"""

import contextlib
import fcntl
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from recommenders.errors import ConfigurationError


@contextmanager
def locked(path: Path, busy: str = "", on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds an exclusive lock on the file while the block runs; creates the file if it is missing.

    If another process holds the lock, calls on_wait() and waits. If `busy` is given, raises ConfigurationError with
    that text instead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if busy:
            raise ConfigurationError(busy) from None
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def mark_in_use(path: Path, owner: object) -> None:
    """Marks a file as in use for as long as the owner exists; any number of owners may do so."""
    handle = os.open(path, os.O_RDONLY)
    weakref.finalize(owner, os.close, handle)
    with contextlib.suppress(OSError):  # a file system without locks: the owner works all the same
        fcntl.flock(handle, fcntl.LOCK_SH)


def is_in_use(path: Path) -> bool:
    """Whether an owner in any process of this machine has marked the file; False if there is no file."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks, where it is not known
        return True
    finally:
        os.close(handle)
    return False
