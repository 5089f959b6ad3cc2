"""The time of the platform: real, unless a drill sets another one for all its processes."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from recommenders.clock import VARIABLE, drill_clock, now, now_us, set_time

MARCH = datetime(2025, 3, 3, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_without_a_drill_the_time_is_the_real_one() -> None:
    before = datetime.now(UTC)
    assert before <= now() <= datetime.now(UTC)
    assert before.timestamp() * 1e6 - 1 <= now_us() <= datetime.now(UTC).timestamp() * 1e6 + 1


def test_a_drill_sets_the_time_which_then_passes(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    set_time(clock, MARCH)
    with drill_clock(clock):
        first, second = now(), now()
        assert MARCH <= first < second < MARCH + MINUTE
        assert MARCH.timestamp() * 1e6 <= now_us() < (MARCH + MINUTE).timestamp() * 1e6
        set_time(clock, MARCH + timedelta(days=1))
        assert now() >= MARCH + timedelta(days=1)
    assert now() > MARCH + timedelta(days=365)
    assert VARIABLE not in os.environ


def test_a_process_that_a_drill_starts_has_its_time(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    set_time(clock, MARCH)
    command = [sys.executable, "-c", "from recommenders.clock import now; print(now().isoformat())"]
    with drill_clock(clock):
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert MARCH <= datetime.fromisoformat(shown.strip()) < MARCH + MINUTE
