"""The folder that the workers of one start of the service share: their counters, and the state of the rate limits.

The process that starts the workers makes it, names it in the environment of the workers, and removes it at its end. A
service with one worker has none: its counters are in its memory, which is faster.
"""

import os
import tempfile
from pathlib import Path

VARIABLE = "TRADEWIND_SHARED_FOLDER"
STARTED = "started"  # an empty file, written when the service started

_made: list["tempfile.TemporaryDirectory[str]"] = []  # a folder is removed when its object ends


def make_shared_folder(n_workers: int) -> None:
    """Makes the folder for the workers that this process starts later."""
    os.environ.pop(VARIABLE, None)
    if n_workers > 1:
        folder = tempfile.TemporaryDirectory(prefix="tradewind-workers-", ignore_cleanup_errors=True)
        _made.append(folder)
        Path(folder.name, STARTED).touch()
        os.environ[VARIABLE] = folder.name


def shared_folder() -> Path | None:
    """The folder of the workers; None if there is only one, and outside of a worker."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None
