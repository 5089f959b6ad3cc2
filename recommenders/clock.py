"""The time of the platform: the real one, or that of a drill, which plays weeks in minutes.

A drill writes a file with the seconds by which its time differs from the real one, and names the file in the
environment. So all its processes have one time, which passes as fast as the real one between two settings of the drill.
Without that variable, which is the rule, the time is the real one. Files, processes and locks always have the real one.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

VARIABLE = "TRADEWIND_CLOCK"

_file = os.environ.get(VARIABLE)  # looked up once: a request asks for the time several times


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC) + timedelta(seconds=_ahead())


def now_us() -> int:
    """The time in microseconds since 1970, UTC."""
    return time.time_ns() // 1000 + round(_ahead() * 1e6)


@contextmanager
def drill_clock(file: Path) -> Iterator[None]:
    """The time is that of the file within the block, in this process and in those that it starts."""
    global _file
    before = _file
    _file = os.environ[VARIABLE] = str(file)
    try:
        yield
    finally:
        _file = before
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def set_time(file: Path, moment: datetime) -> None:
    """Sets the time of the processes that use the file. moment: with a time zone."""
    staging = file.with_name(f".{file.name}-{os.getpid()}")
    staging.write_text(repr((moment - datetime.now(UTC)).total_seconds()))
    staging.replace(file)


def _ahead() -> float:
    return float(Path(_file).read_text()) if _file else 0.0
