"""Lists and empties the log files of the services. A service goes on writing to the same file."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from recommenders.storage.atomic_files import atomic_file
from recommenders.storage.retention import Stored

PATTERNS = ("*.log", "*.jsonl")


def log_files(folder: Path) -> list[Stored]:
    """The log files of a folder, by their names."""
    stats = [(path.name, path.stat()) for pattern in PATTERNS for path in sorted(folder.glob(pattern))]
    return [Stored(name, datetime.fromtimestamp(stat.st_mtime, UTC), stat.st_size) for name, stat in stats]


def begin_anew(path: Path) -> None:
    """Copies a log to FILE.1, in the place of an older copy, and empties it.

    A line that is written between the two steps may be lost. Renaming would lose none, but then a service would go on
    writing to the renamed file until its next start.
    """
    with atomic_file(path.with_name(f"{path.name}.1")) as staging:
        shutil.copyfile(path, staging)
    os.truncate(path, 0)
