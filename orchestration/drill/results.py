"""The files of played scenarios: one folder each, with the record of all days, the figures and the page."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from orchestration.drill.figures import figures
from orchestration.drill.page import page
from orchestration.drill.play import Record
from recommenders.storage.atomic_files import atomic_folder
from recommenders.training.code_fingerprint import fingerprint_of
from serving.settings import PROJECT

PACKAGES = ("recommenders", "serving", "monitoring", "orchestration")
COLUMNS = {
    "scenario": "scenario",
    "detected_by": "first alarm",
    "detect_days": "after",
    "retrain_days": "retrained",
    "recover_days": "recovered",
    "rollback_days": "rolled back",
    "heal_days": "healed",
    "ndcg_share": "NDCG share",
    "regained": "regained",
    "false_alarms": "false alarms",
    "needless_retrainings": "needless",
}


def write(folder: Path, record: Record, config: Path) -> dict[str, Any]:
    """Writes record.json, figures.json and page.html of a scenario, in one step; returns the figures."""
    found = figures(record)
    result = {**asdict(found), "days": len(record.days), "recipe": recipe(config)}
    with atomic_folder(folder / record.scenario) as staging:
        (staging / "record.json").write_text(json.dumps(asdict(record), indent=1) + "\n")
        (staging / "figures.json").write_text(json.dumps(result, indent=2) + "\n")
        (staging / "page.html").write_text(page(record, found), encoding="utf-8")
    return result


def recipe(config: Path) -> str:
    """A short hash of the code of the whole platform and of a training configuration."""
    return hashlib.sha256(f"{code_of(PROJECT)}\n{config.read_text('utf-8')}".encode()).hexdigest()[:16]


@cache
def code_of(project: Path) -> str:
    """The fingerprints of the packages below a folder, computed once per process."""
    return " ".join(fingerprint_of(project / package) for package in PACKAGES)


def finished(folder: Path, scenario: str, days: int, seed: int, config: Path) -> dict[str, Any] | None:
    """The figures of a scenario that was played before with the same days, seed, configuration and code."""
    path = folder / scenario / "figures.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    wanted = {"days": days, "seed": seed, "recipe": recipe(config)}
    return found if {name: found.get(name) for name in wanted} == wanted else None


def summary(results: Sequence[Mapping[str, Any]]) -> str:
    """The figures as a Markdown table; times are days from the change on."""
    cells = [[_cell(result[name]) for name in COLUMNS] for result in results]
    lines = [list(COLUMNS.values()), ["---"] * len(COLUMNS), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
