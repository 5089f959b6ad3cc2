"""One process at a time, by a lock on a file; the system lets go of it when a process dies."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recommenders.errors import ConfigurationError


@contextmanager
def locked(path: Path, busy: str = "") -> Iterator[None]:
    """Holds an exclusive lock on the file (made if missing) while the block runs.

    Waits for another holder; with `busy` it raises ConfigurationError with that text instead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise ConfigurationError(busy) from None
        yield
