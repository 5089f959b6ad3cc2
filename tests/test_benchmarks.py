"""The benchmarks of models: their options and the form of their output, with tiny sizes and without peers."""

import contextlib
import importlib
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from peers.tuning import chosen_settings

from recommenders.evaluation.rank import rank_users
from recommenders.training.fitting import fit_recipe

pytestmark = pytest.mark.slow  # the longest file: it must not start last

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
KEYS = {"what", "unit", "ours", "peer", "peer_value", "ratio", "goal", "met"}
QUICK = {
    "accuracy": ["--models", "popularity"],
    "training_speed": ["--only", "user_neighbours"],
    "topk": [],
    "http_stack": [],
    "drift": ["--parts", "delays", "quality"],
    "threads": ["--only", "inverse", "--beside", "0"],
    "large_catalogue": ["--parts", "lists"],  # measures as predict_path.py does
    "explanations": [],
    "similar_items": [],
    "segments": [],
    "service_drills": ["--drills", "kills"],
    "service_replays": [],
}


def run(name: str, *options: str, kept: Path) -> str:
    """The output of a script, which runs in this process: in one of its own it would load its libraries again."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("ignore")  # as where a user starts it
        patch.setenv("TRADEWIND_BENCH", str(kept))
        patch.setattr(sys, "argv", [str(BENCHMARKS / f"{name}.py"), *options])
        runpy.run_path(sys.argv[0], run_name="__main__")
    return printed.getvalue()


def run_alone(name: str, *options: str, kept: Path) -> str:
    """The output of a script in a process of its own."""
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


def test_the_readme_lists_every_script_once() -> None:
    text = (BENCHMARKS / "README.md").read_text()
    themes = text[text.index("## The scripts") : text.index("## accuracy.py")]
    listed = re.findall(r"^(?:\| )?`(\w+\.py)`", themes, re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in BENCHMARKS.glob("*.py"))


def test_a_killed_writer_to_postgresql_loses_no_acknowledged_event(postgresql_is_installed: None, kept: Path) -> None:
    last = run("service_drills", "--quick", "--json", "--drills", "postgresql_kills", kept=kept).splitlines()[-1]
    (row,) = json.loads(last)["rows"]
    assert (row["ours"], row["floor_met"]) == (0, True)
    assert row["note"].startswith("2 kills; ")


def test_finished_results_are_not_computed_again(kept: Path) -> None:
    options = ("--quick", "--no-peers", "--json", *QUICK["accuracy"])
    first = json.loads(run("accuracy", *options, kept=kept).splitlines()[-1])
    newest = max(path.stat().st_mtime_ns for path in (kept / "finished").iterdir())
    second = json.loads(run_alone("accuracy", *options, kept=kept).splitlines()[-1])
    assert first["rows"] == second["rows"]
    assert max(path.stat().st_mtime_ns for path in (kept / "finished").iterdir()) == newest


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux reports a program's own peak")
def test_a_programs_peak_memory_does_not_include_its_parents() -> None:
    held = np.ones(40_000_000)
    command = [sys.executable, "-c", "from memory import peak_mb; print(peak_mb())"]
    printed = subprocess.run(
        command, cwd=BENCHMARKS / "peers" / "process", check=True, capture_output=True, text=True
    ).stdout
    assert 1 < float(printed) < held.nbytes / 2**20 / 3


def test_the_peers_settings_are_of_existing_models_and_views() -> None:
    settings = json.loads((BENCHMARKS / "peers" / "tuning" / "settings.json").read_text())
    for peers in settings.values():
        for found in peers.values():
            assert found["tried"] > 1
            assert set(found["views"]) <= {"all", "reorder", "discovery"}
            assert all(0 < best["validation"] < 1 and best["params"] for best in found["views"].values())


@pytest.fixture
def tuning(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("peers.tuning.search")


def test_settings_of_a_peer_are_in_its_grid_or_the_librarys_defaults(tuning: ModuleType) -> None:
    for peers in chosen_settings.settings().values():
        for peer, found in peers.items():
            if found.get("grid") != chosen_settings.grid_of(peer):
                continue  # listed in to_be_tuned.json: tests/benchmarks/test_peers.py
            for best in found["views"].values():
                params = best["params"]
                assert params == tuning.DEFAULTS[peer] or tuning.place_of(peer, params) is not None


def test_every_peer_gets_the_same_number_of_different_reproducible_trials(tuning: ModuleType) -> None:
    for peer in tuning.PEERS:

        def search(measured: list[Any], peer: str = peer) -> list[Any]:
            def measure(config: dict[str, Any]) -> Any:
                measured.append(config)
                return tuning.Trial(config, {"all": len(str(config)) / 1000, "reorder": 1 / len(str(config))}, 1.0)

            return tuning.search(peer, ["all", "reorder"], [tuning.DEFAULTS[peer]], measure)

        tried: list[Any] = []
        assert [trial.params for trial in search(tried)] == tried
        assert [trial.params for trial in search([])] == tried
        assert len(tried) == tuning.BUDGET.trials
        assert tried[0] == tuning.DEFAULTS[peer]
        assert all(params not in tried[:place] for place, params in enumerate(tried))


def test_a_search_ends_with_its_seconds_half_of_them_for_random_points(tuning: ModuleType) -> None:
    peer = "recbole_neumf"

    def measure(params: dict[str, Any]) -> Any:
        return tuning.Trial(params, {"all": 0.1} if params["mlp_embedding_size"] > 8 else {}, 400.0)

    random_points = [tuning.params_at(peer, point) for point in tuning.scattered(peer, 16)]
    tried = tuning.search(peer, ["all"], [], measure, tuning.Budget(16, 2400.0))
    assert [trial.params for trial in tried[:3]] == random_points[:3]
    assert len(tried) == 6  # failed trials use their seconds, too
    assert not any(trial.params in random_points for trial in tried[3:])
    again = tuning.search(peer, ["all"], [], measure, tuning.Budget(16, 2400.0), (), tried[:4])
    assert [trial.params for trial in again] == [trial.params for trial in tried]


def test_a_search_climbs_to_a_best_that_was_not_a_random_point(tuning: ModuleType) -> None:
    peer, n = "rectools_ease", 18
    top = tuning.params_at(peer, (12, 0))
    assert top not in [tuning.params_at(peer, point) for point in tuning.scattered(peer, n // 2)]

    def measure(params: dict[str, Any]) -> Any:
        place = tuning.place_of(peer, params)
        return tuning.Trial(params, {"all": 1.0 + place[0] - place[1]}, 1.0)

    tried = tuning.search(peer, ["all"], [], measure, tuning.Budget(n, 1e9))
    found = tuning.best_of(peer, tried)
    assert found["views"]["all"] == {"params": top, "validation": 13.0, "at_edge": ["regularization"]}
    assert (found["tried"], found["failed"]) == (n, 0)


def test_a_search_goes_beyond_a_widened_edge_as_long_as_it_improves(
    tuning: ModuleType,
) -> None:
    peer, measured = "rectools_ease", []

    def measure(params: dict[str, Any]) -> Any:
        measured.append(params)
        place = tuning.place_of(peer, params)
        return tuning.Trial(params, {"all": 1.0 - abs(place[0] - 8) - place[1]}, 1.0)

    before = [tuning.params_at(peer, point) for point in ((6, 0), (6, 1), (5, 0), (4, 0))]  # 6 was the end of the axis
    done = [measure(params) for params in before]
    spent = tuning.Budget(len(done), 1e9)
    measured.clear()
    tuning.search(peer, ["all"], [], measure, spent, (), done, {"all": []})
    assert not measured
    tuning.search(peer, ["all"], [], measure, spent, (), done, {"all": ["epochs"]})
    assert not measured
    tuning.search(peer, ["all"], [], measure, spent, (), done, {"all": ["regularization"]})
    assert [tuning.place_of(peer, params) for params in measured] == [(7, 0), (8, 0), (9, 0)]


def test_failed_settings_are_counted_and_are_never_the_best(tuning: ModuleType) -> None:
    good, bad = ({"regularization": value, "values": "log"} for value in (20.0, 50.0))
    tried = [tuning.Trial(bad, {}, 0.0), tuning.Trial(good, {"all": 0.1}, 2.0)]
    found = tuning.best_of("rectools_ease", tried)
    assert (found["tried"], found["failed"], found["views"]["all"]["params"]) == (2, 1, good)
    with pytest.raises(tuning.PeerError, match="none of 1 settings"):
        tuning.best_of("rectools_ease", tried[:1])


def test_an_interrupted_run_loses_one_model_and_gives_the_same_lists(
    tuning: ModuleType, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEWIND_BENCH", str(kept))
    names = ("fitted_models", "accuracy.entrant_lists", "benchmark_tasks")
    fitted_models, entrant_lists, benchmark_tasks = (importlib.import_module(f"measuring.{name}") for name in names)
    config = entrant_lists.configuration(["repurchase", "ease", "hybrid_learned"])
    task = benchmark_tasks.benchmark_task("custom_b2b", scale=0.1)
    folders = {name: fitted_models.bundle_of(name, task, config) for name in config.enabled()}
    base_models = {name: folder.stat().st_mtime_ns for name, folder in folders.items() if name != "hybrid_learned"}
    shutil.rmtree(folders["hybrid_learned"])
    again = fitted_models.fitted("hybrid_learned", task, config)
    assert {name: folders[name].stat().st_mtime_ns for name in base_models} == base_models
    fitted_together = fit_recipe(config, task.log, task.features)["hybrid_learned"]
    lists = [rank_users(model, task.case, task.views, 10) for model in (again, fitted_together)]
    for view in task.views:
        np.testing.assert_array_equal(lists[0][view], lists[1][view])


def test_a_peer_that_was_never_tuned_is_in_the_table_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracy = importlib.import_module("accuracy")
    task = SimpleNamespace(name="custom_b2b", protocol=SimpleNamespace(split="time_cut"))
    params = {"factors": 32}
    views = {"all": {"params": params}}
    entry = {"grid": chosen_settings.grid_of("implicit_als"), "tried": 16, "seconds": 1, "views": views}
    monkeypatch.setattr(accuracy, "settings", lambda: {"custom_b2b": {"implicit_als": entry}})
    monkeypatch.setattr(accuracy.entrant_lists, "peer", lambda name, task, best, threads: (best, set()))
    found = accuracy.Field()
    accuracy.rank_peers(task, SimpleNamespace(peers=["implicit_als", "lenskit_als", "recbole_neumf"], threads=1), found)
    assert found.others == {"implicit_als": {"all": params}, "lenskit_als": {}}
    assert found.notes == {"implicit_als": "", "lenskit_als": "not tuned: library defaults"}
