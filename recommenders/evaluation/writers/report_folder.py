"""Saves and loads an evaluation report as a folder: JSON, a Markdown page, a plot, and values per user."""

import json
from pathlib import Path

from recommenders.evaluation.report import Report
from recommenders.evaluation.writers import markdown, plots
from recommenders.storage.atomic_files import atomic_folder


def save_report(report: Report, folder: Path) -> Path:
    """Writes report.json, report.md, report.png and per_user.parquet, replacing the folder atomically."""
    import pyarrow.parquet as pq

    with atomic_folder(folder) as staging:
        (staging / "report.json").write_text(json.dumps(report.to_json(), indent=2))
        (staging / "report.md").write_text(markdown.render(report))
        (staging / "report.png").write_bytes(plots.plot_report(report))
        pq.write_table(report.per_user, staging / "per_user.parquet")
    return folder


def load_report(folder: Path) -> Report:
    """The report that save_report() wrote."""
    import pyarrow.parquet as pq

    stored = json.loads((folder / "report.json").read_text())
    fields = {name: value for name, value in stored.items() if name in Report.__dataclass_fields__}
    return Report(**fields, per_user=pq.read_table(folder / "per_user.parquet"))
