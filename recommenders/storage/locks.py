"""A file lock for one process at a time; the operating system releases it when the process ends."""

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
