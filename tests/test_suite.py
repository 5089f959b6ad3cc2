"""The rules of the suite itself: skipped tests, and no port for two tests."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_skipped():
    pytest.skip("a part is missing (get it so)")

def test_of_real_logs(real_data):
    assert real_data

@pytest.mark.xfail(reason="known")
def test_known_to_fail():
    assert False
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Tests that are skipped, with the conftest.py of this suite."""
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text().replace("pytest_plugins", "_plugins"))
    pytester.makeini("[pytest]\nmarkers =\n    slow\n    real_data")
    pytester.makepyfile(test_parts=TESTS, test_module="import pytest\npytest.importorskip('no_such_part')")
    monkeypatch.delenv("TRADEWIND_REAL_DATA", raising=False)
    monkeypatch.delenv("TRADEWIND_REQUIRE_ALL", raising=False)
    return pytester


def test_a_test_with_a_missing_part_is_skipped_with_a_reason(suite: pytest.Pytester) -> None:
    done = suite.runpytest_inprocess("-ra", "-p", "no:xdist")
    done.assert_outcomes(skipped=3, xfailed=1)
    done.stdout.fnmatch_lines(["*TRADEWIND_REAL_DATA is not set; set it to a folder with*"])


def test_with_require_all_a_skipped_test_fails_with_the_missing_part(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEWIND_REQUIRE_ALL", "1")
    done = suite.runpytest_inprocess("--continue-on-collection-errors", "-p", "no:xdist")
    done.assert_outcomes(failed=1, errors=2, xfailed=1)
    for part in ("no_such_part", "a part is missing (get it so)", "TRADEWIND_REAL_DATA is not set"):
        done.stdout.fnmatch_lines([f"*{part}*TRADEWIND_REQUIRE_ALL=1: no test may be skipped*"])
    done = suite.runpytest_inprocess("test_parts.py", "-m", "not real_data", "-p", "no:xdist")
    done.assert_outcomes(failed=1, xfailed=1, deselected=1)


def test_no_other_process_gets_a_reserved_port(pick_port: Callable[[], int]) -> None:
    """Not even before a server listens on it."""
    mine = {pick_port() for _ in range(3)}
    assert len(mine) == 3
    script = "from tests.conftest import reserve_ports\npick = reserve_ports()\nprint(*(pick() for _ in range(3)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    theirs = {int(port) for port in done.stdout.split()}
    assert len(theirs) == 3
    assert not theirs & mine
