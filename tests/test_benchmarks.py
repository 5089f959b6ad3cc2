"""The benchmarks of models: their options, and the form of what they print, on tiny sizes and without peers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
KEYS = {"what", "unit", "ours", "peer", "peer_value", "ratio", "goal", "met"}
QUICK = {
    "accuracy": ["--models", "popularity"],
    "training_speed": ["--only", "user_neighbours"],
    "topk": [],
    "predict_path": ["--models", "popularity"],
}


def run(name: str, *options: str, kept: Path) -> str:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *options]
    environment = {**os.environ, "TRADEWIND_BENCH": str(kept)}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_run_prints_a_table_and_one_line_for_programs(name: str, kept: Path) -> None:
    *lines, last = run(name, "--quick", "--no-peers", "--json", *QUICK[name], kept=kept).splitlines()
    found: dict[str, Any] = json.loads(last)
    assert set(found) == {"name", "rows", "versions", "hardware", "seconds"}
    assert found["name"] == name
    assert found["rows"]
    for row in found["rows"]:
        assert set(row) >= KEYS
        assert any(row["what"] in line for line in lines)
        assert row["met"] is None or isinstance(row["met"], bool)
        assert row["floor_met"] is None or row["floor"] is not None


def test_what_is_finished_is_not_done_again(kept: Path) -> None:
    options = ("--quick", "--no-peers", "--json", *QUICK["accuracy"])
    first = json.loads(run("accuracy", *options, kept=kept).splitlines()[-1])
    newest = max(path.stat().st_mtime_ns for path in (kept / "finished").iterdir())
    second = json.loads(run("accuracy", *options, kept=kept).splitlines()[-1])
    assert first["rows"] == second["rows"]
    assert max(path.stat().st_mtime_ns for path in (kept / "finished").iterdir()) == newest


def test_the_peers_settings_are_of_models_and_views_that_there_are() -> None:
    settings = json.loads((BENCHMARKS / "peers" / "settings.json").read_text())
    for peers in settings.values():
        for found in peers.values():
            assert found["tried"] > 1
            assert set(found["views"]) <= {"all", "reorder", "discovery"}
            assert all(0 < best["validation"] < 1 and best["params"] for best in found["views"].values())
