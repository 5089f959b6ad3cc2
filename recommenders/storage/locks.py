"""A file lock for one process at a time; the operating system releases it when the process ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recommenders.errors import ConfigurationError


@contextmanager
def locked(path: Path, busy: str = "") -> Iterator[None]:
    """Holds an exclusive lock on the file while the block runs; creates the file if it is missing.

    Waits while another process holds the lock. If `busy` is given, raises ConfigurationError with that text instead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise ConfigurationError(busy) from None
        yield
