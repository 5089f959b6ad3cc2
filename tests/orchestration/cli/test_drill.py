"""`tradewind drill`: which scenarios it plays, and what it writes. tests/orchestration/drill plays a real one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.drill import play as playing
from orchestration.drill.play import Day, Record
from orchestration.drill.scenarios import SCENARIOS

Run = Callable[..., "subprocess.CompletedProcess[str]"]
TRADEWIND = str(Path(sys.executable).with_name("tradewind"))
NOTHING = {"drifted": [], "drift": "", "feed": "", "decay": "", "release": ""}


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """What was played, instead of playing it."""
    calls: list[tuple[str, int, int]] = []

    def play(name: str, days: int, seed: int, home: Path, config: Path, echo: Callable[[str], None]) -> Record:
        assert home.is_dir()
        assert config == playing.CONFIG
        calls.append((name, days, seed))
        sums = {"ndcg": 8.0, "expected": 30.0, "bought": 30, "revenue": 100.0}
        lists = ("served", "oracle", "never retrained")
        values, ndcg = dict.fromkeys(lists, sums), {name: [0.8] * 10 for name in lists}
        return Record(name, seed, 14, [Day("2025-03-03", 1, 10, values, ndcg, **NOTHING) for _ in range(days)])  # type: ignore[arg-type]

    monkeypatch.setattr(playing, "play", play)
    return calls


def test_an_unknown_scenario_is_refused_with_the_known_ones(run_here: Run, tmp_path: Path) -> None:
    done = run_here("drill", "war", home=tmp_path)
    assert done.returncode == 2
    assert "unknown scenario 'war'" in done.stderr
    assert "taste_permutation" in done.stderr


def test_a_scenario_is_played_and_written(run_here: Run, tmp_path: Path, played: list[tuple[str, int, int]]) -> None:
    done = run_here("drill", "churn", "--days", "21", "--seed", "4", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert played == [("churn", 21, 4)]
    folder = tmp_path / "drills" / "churn"
    assert f"churn: {folder / 'page.html'}" in done.stderr
    assert "| churn | - |" in done.stdout
    assert json.loads((folder / "figures.json").read_text())["scenario"] == "churn"
    assert len(json.loads((folder / "record.json").read_text())["days"]) == 21
    assert "<h1>Drill: churn</h1>" in (folder / "page.html").read_text()


def test_a_drill_without_a_day_after_the_change_is_refused(run_here: Run, tmp_path: Path) -> None:
    """Its figures would be those of a market without a change."""
    done = run_here("drill", "churn", "--days", "14", home=tmp_path)
    assert done.returncode == 2
    assert "21" in done.stderr


@pytest.mark.slow
def test_sigterm_ends_a_drill_and_leaves_no_folder(tmp_path: Path) -> None:
    """As a process manager does it, in the middle of a scenario."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    variables = {**os.environ, "TMPDIR": str(temporary), "TRADEWIND_HOME": str(tmp_path / "home")}
    process = subprocess.Popen([TRADEWIND, "drill", "none"], env=variables)
    deadline = time.monotonic() + 60
    while not list(temporary.glob("tradewind-drill-*/shop/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not list(temporary.iterdir())


def test_all_plays_every_scenario_and_goes_on_where_it_stopped(
    run_here: Run, tmp_path: Path, played: list[tuple[str, int, int]]
) -> None:
    to = str(tmp_path / "results")
    assert run_here("drill", "churn", "--days", "21", "--to", to, home=tmp_path).returncode == 0
    done = run_here("drill", "all", "--days", "21", "--to", to, "--json", home=tmp_path)
    assert [name for name, _, _ in played] == ["churn", *(name for name in SCENARIOS if name != "churn")]
    assert [found["scenario"] for found in json.loads(done.stdout)] == list(SCENARIOS)
    assert run_here("drill", "all", "--days", "22", "--to", to, home=tmp_path).returncode == 0  # other figures
    assert len(played) == 2 * len(SCENARIOS)
