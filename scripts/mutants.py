"""Mutation tests: changes the code in one place at a time and counts the changes that no test finds.

    make mutants                             all modules
    make mutants ARGS="metrics gate.py"      modules whose path contains one of these words
    make mutants ARGS=--report               the results so far, without running anything
    make mutants ARGS=--survivors            with new tests, only the mutants that survived before; killed stays killed

Cosmic Ray makes the mutants (code_changes.py). Each runs in a fork of a process that has the libraries loaded, so that
it costs the tests and not the imports. The tests run on a copy of the checkout below .mutants/. The results are stored
there, and a mutant runs again only if the module or its tests changed, so an interrupted run continues.
tests/mutants.json has the number of mutants of each module, the number killed, and the survivors, each with a reason
why it may survive: write the reason there, it stays. A survivor without a reason needs a test.
"""

import argparse
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from code_changes import mutants

PROJECT = Path(__file__).resolve().parents[1]
STATE, RESULTS = PROJECT / ".mutants", PROJECT / "tests" / "mutants.json"

GROUPS = {  # folder -> module: its tests, in the same folder of tests/
    "recommenders": {
        "splitting/temporal": "splitting/test_temporal",
        "splitting/early_stopping": "splitting/test_early_stopping models/test_small_logs",
        "splitting/windows": "splitting/test_windows models/ensembles/hybrid_learned/test_model models/test_repurchase",
        "splitting/user_holdout": "evaluation/tasks/test_strong_generalisation",
        "models/calibration": "models/test_calibration",
    },
    "recommenders/metrics": {name: f"test_{name}" for name in ("ranking", "popularity", "variety")},
    "recommenders/evaluation": {
        "statistics/comparison": "statistics/test_comparison",
        "criteria": "test_criteria test_report",
        "oracle": "test_oracle",
        "list_metrics": "test_list_metrics test_report",
        "rank": "test_rank",
        "cost": "test_cost",
        "statistics/report_values": "test_report statistics/test_comparison",
        "report": "test_report",
        "statistics/reliability": "statistics/test_reliability test_report",
        "evaluate": "test_report",
        "benchmark/file_benchmark": "benchmark/test_file_benchmark",
        "tasks/task": "tasks/test_task test_report tasks/test_cold_start tasks/test_slices",
        "tasks/cold_start": "tasks/test_cold_start",
        "tasks/sampled": "tasks/test_sampled",
        "tasks/slices": "tasks/test_slices",
    },
    "recommenders/models/ensembles/hybrid_learned": {
        "training": "test_training test_model",
        "validation": "test_validation test_training test_model",
        "score_rules": "test_score_rules",
    },
    "recommenders/training": {"segments": "test_segments"},
    "serving": {
        "lists/diversity": "lists/test_diversity",
        "steering/rules/exploration": "steering/rules/test_exploration",
        "lists/cache/list_cache": "lists/cache/test_list_cache",
        "feedback/erasure": "feedback/test_erasure",
        "traffic/request_queue": "traffic/test_request_queue",
    },
    "serving/release": {
        "gate": "test_gate test_challenger",
        "challenger": "test_challenger",
    },
    "monitoring": {
        "drift/verdict": "drift/test_verdict",
        "drift/changes": "drift/test_changes",
        "drift/sequential": "drift/test_sequential",
        "decisions/retraining": "decisions/test_retraining",
        "decisions/rollback": "decisions/test_rollback",
        "online/falls": "online/test_falls",
    },
    "orchestration": {
        "sensors/new_data": "sensors/test_new_data",
        "sensors/monitoring": "sensors/test_monitoring",
        "checks": "test_checks test_feature_check test_definitions",
    },
}
TARGETS = {  # module -> its tests
    f"{folder}/{name}.py": [f"tests/{folder}/{test}.py" for test in tests.split()]
    for folder, modules in GROUPS.items()
    for name, tests in modules.items()
}

PYTEST = ["-xq", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow and not real_data"]
SLOWEST = 8  # a mutant counts as killed after this times the duration of the tests without a mutant, plus a minute


# -- running them


def run_target(module: str, only_survivors: bool = False) -> None:
    """Runs the mutants of one module that have no result yet, in its own process: it imports what the tests import."""
    tree = STATE / "trees" / module.replace("/", ".")
    copy_checkout(tree)
    os.chdir(tree)
    os.environ |= {"PYTHONPATH": str(tree), "HOME": str(tree), "TRADEWIND_REQUIRE_ALL": ""}
    os.environ |= {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    sys.path.insert(0, str(tree))
    tests, source = TARGETS[module], (tree / module).read_text()
    digests = {"digest": digest(module, tree), "source": digest(module, tree, tests=False)}
    results = load(module, only_survivors)
    preload(tests)
    began = time.monotonic()
    if (code := forked(tests, 3600)) != 0:
        raise SystemExit(f"{module}: its tests fail on the unchanged code (exit {code}); see {tree}/mutant.log")
    limit = 60 + SLOWEST * (time.monotonic() - began)
    every = list(mutants(source))
    results = {m.change: results[m.change] for m in every if m.change in results}
    for number, mutant in enumerate(every, 1):
        if mutant.change not in results:
            (tree / module).write_text(mutant.code)
            results[mutant.change] = "survived" if forked(tests, limit) == 0 else "killed"
            (tree / module).write_text(source)
            save(module, results, digests)
        if sys.stderr.isatty() or number == len(every):
            print(f"\r{module}: {number} of {len(every)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    save(module, results, digests)


def copy_checkout(tree: Path) -> None:
    """Copies the files that git tracks or would add, as they are now."""
    shutil.rmtree(tree, ignore_errors=True)
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    for name in filter(lambda name: (PROJECT / name).is_file(), files.stdout.splitlines()):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, tree / name)


def preload(tests: list[str]) -> None:
    """Imports the libraries that collecting the tests imports, but no module of this project."""
    script = (
        "import json, sys, pytest\n"
        f"pytest.main([*{PYTEST!r}, '--collect-only', '-qq', *{tests!r}])\n"
        "loaded = [n for n, m in sys.modules.items() if 'site-packages' in (getattr(m, '__file__', None) or '')]\n"
        "print('LOADED', json.dumps(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for name in json.loads(done.stdout.split("LOADED", 1)[1]):
        if not name.startswith(("xdist", "_pytest.", "__editable__")):
            try:
                importlib.import_module(name)
            except Exception as error:  # then the tests import it
                print(f"{name}: {error}", file=sys.stderr)
    sys.dont_write_bytecode = True  # Python would use the bytecode of one mutant for the next


class QuickestFirst:
    """A pytest plugin that runs the quickest tests first (as measured before): one failed test kills a mutant."""

    def __init__(self) -> None:
        self.file = Path("seconds.json")
        self.before: dict[str, float] = json.loads(self.file.read_text()) if self.file.is_file() else {}
        self.now: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: self.before.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.now[report.nodeid] = self.now.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        if not self.before:
            self.file.write_text(json.dumps(self.now))


def forked(tests: list[str], limit: float) -> int:
    """The exit status of the tests in a fork; 1 if they take longer than `limit` seconds."""
    child = os.fork()
    if not child:
        os.setsid()
        log = os.open("mutant.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        import pytest

        code = 3
        try:
            code = int(pytest.main([*PYTEST, *tests], plugins=[QuickestFirst()]))
        finally:
            os._exit(code)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 1


# -- results


def digest(module: str, root: Path = PROJECT, tests: bool = True) -> str:
    """A hash of the module and its tests: if it differs, earlier results are not valid any more."""
    folders = {parent for test in TARGETS[module] for parent in Path(test).parents}
    files = [module, *([*TARGETS[module], *(f"{folder}/conftest.py" for folder in folders)] if tests else [])]
    content = b"".join((root / name).read_bytes() for name in sorted(files) if (root / name).is_file())
    return hashlib.sha256(content).hexdigest()


def state_of(module: str) -> Path:
    return STATE / f"{module.replace('/', '.')}.json"


def load(module: str, only_survivors: bool = False) -> dict[str, str]:
    """Change -> "killed" or "survived", of the present module and tests.

    only_survivors: if only the tests have changed since, the killed mutants.
    """
    path = state_of(module)
    saved = json.loads(path.read_text()) if path.is_file() else {}
    if saved.get("digest") == digest(module):
        return saved["mutants"]
    if only_survivors and saved.get("source") == digest(module, tests=False):
        return {change: result for change, result in saved["mutants"].items() if result == "killed"}
    return {}


def save(module: str, results: dict[str, str], digests: dict[str, str]) -> None:
    """Stores the results. digests: hashes of the files that were run; those in the project may have changed since."""
    part = state_of(module).with_suffix(".part")
    part.write_text(json.dumps({**digests, "mutants": results}, indent=1))
    part.replace(state_of(module))


def line_of(module: str, row: dict[str, Any]) -> str:
    left = sum(not why for why in row["survivors"].values())
    share = f"{row['killed'] / row['mutants']:.0%}" if row["mutants"] else "no mutants"
    return f"{module}: {row['killed']} of {row['mutants']} killed ({share}), {left} survivors without a reason"


def report() -> dict[str, dict[str, Any]]:
    """Module -> its counts and survivors, of each module that was run completely, now or before."""
    rows: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for module in TARGETS:
        results = load(module)
        if results and len(results) == len({m.change for m in mutants((PROJECT / module).read_text())}):
            alive = [change for change, result in results.items() if result == "survived"]
            reasons = rows.get(module, {}).get("survivors", {})
            survivors = {change: reasons.get(change, "") for change in alive}
            rows[module] = {"mutants": len(results), "killed": len(results) - len(alive), "survivors": survivors}
    RESULTS.write_text(json.dumps({m: rows[m] for m in TARGETS if m in rows}, indent=2, ensure_ascii=False) + "\n")
    return rows


def main() -> None:
    """Runs the mutants that have no result yet, and reports the results; see the options for less."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="words in the paths of the modules; default: all modules")
    parser.add_argument("--jobs", type=int, default=1, help="number of modules in parallel")
    parser.add_argument("--report", action="store_true", help="run nothing, only report")
    parser.add_argument("--survivors", action="store_true", help="run only the mutants that survived before")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    STATE.mkdir(exist_ok=True)
    if options.one:
        return run_target(options.one, options.survivors)
    chosen = [m for m in TARGETS if not options.words or any(word in m for word in options.words)]
    if not chosen:
        parser.error(f"no module matches {' '.join(options.words)}; allowed: {', '.join(TARGETS)}")
    failed = []
    if not options.report:
        with ThreadPoolExecutor(options.jobs) as pool:
            more = ["--survivors"] * options.survivors
            codes = pool.map(lambda m: subprocess.run([sys.executable, __file__, "--one", m, *more]).returncode, chosen)
            failed = [module for module, code in zip(chosen, codes, strict=True) if code]
    rows = report()
    print("\n".join(line_of(m, rows[m]) if m in rows else f"{m}: not run completely yet" for m in chosen))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
