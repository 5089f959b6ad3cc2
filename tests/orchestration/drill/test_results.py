"""The files of a played scenario: what counts as played before."""

import shutil
from pathlib import Path

import pytest

from orchestration.drill import results
from orchestration.drill.play import CONFIG, Day, Record
from serving.settings import PROJECT

LISTS = ("served", "oracle", "never retrained")
VALUES = {name: {"ndcg": 1.0, "expected": 1.0, "clicks": 1.0, "purchases": 1.0, "revenue": 1.0} for name in LISTS}


@pytest.fixture
def record() -> Record:
    """Three days without an event worth a word."""
    days = [
        Day(f"2025-03-0{number}", 1, 1, VALUES, {name: [1.0] for name in LISTS}, [], "", "", "", "")
        for number in (3, 4, 5)
    ]
    return Record("none", 1, 2, days)


def test_a_scenario_is_finished_with_the_same_days_seed_configuration_and_code(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it is played again: a change of any package or of the configuration changes its figures."""
    assert results.finished(tmp_path, "none", 3, 1, CONFIG) is None
    written = results.write(tmp_path, record, CONFIG)
    assert {path.name for path in (tmp_path / "none").iterdir()} == {"record.json", "figures.json", "page.html"}

    assert results.finished(tmp_path, "none", 3, 1, CONFIG) == written
    assert results.finished(tmp_path, "none", 4, 1, CONFIG) is None
    assert results.finished(tmp_path, "none", 3, 2, CONFIG) is None
    assert results.finished(tmp_path, "churn", 3, 1, CONFIG) is None
    other = tmp_path / "drill.yaml"
    other.write_text(CONFIG.read_text() + "seed: 7\n")
    assert results.finished(tmp_path, "none", 3, 1, other) is None

    changed = tmp_path / "code"
    for package in results.PACKAGES:
        shutil.copytree(PROJECT / package, changed / package, ignore=shutil.ignore_patterns("__pycache__"))
    (changed / "monitoring" / "added.py").write_text("CHANGED = True\n")
    monkeypatch.setattr(results, "PROJECT", changed)
    assert results.finished(tmp_path, "none", 3, 1, CONFIG) is None
