"""The snapshots of drift reports in Evidently's workspace: lists and deletes them.

    WORKSPACE/PROJECT/metadata.json            the name of the project is that of the data set
    WORKSPACE/PROJECT/snapshots/SNAPSHOT.json  one comparison

Evidently's own client reads every snapshot before it deletes one. Its pages notice deleted files.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

from recommenders.storage.retention import Stored


def stored_snapshots(workspace: Path, dataset: str) -> list[Stored]:
    """The snapshots of a data set, by their ids."""
    stats = [(path, path.stat()) for path in _files(workspace, dataset)]
    return [Stored(path.stem, datetime.fromtimestamp(stat.st_mtime, UTC), stat.st_size) for path, stat in stats]


def delete_snapshot(workspace: Path, dataset: str, snapshot: str) -> None:
    """Deletes a snapshot."""
    for path in _files(workspace, dataset):
        if path.stem == snapshot:
            path.unlink(missing_ok=True)


def _files(workspace: Path, dataset: str) -> list[Path]:
    projects = [path.parent for path in workspace.glob("*/metadata.json") if _name(path) == dataset]
    return [file for project in projects for file in sorted((project / "snapshots").glob("*.json"))]


def _name(metadata: Path) -> str:
    name: str = json.loads(metadata.read_text())["name"]
    return name
