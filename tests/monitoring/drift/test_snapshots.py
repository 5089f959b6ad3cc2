"""Deleted snapshots are gone for Evidently itself, in a real workspace."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from monitoring.drift.snapshots import delete_snapshot, stored_snapshots

# Evidently 0.7.23 uses what numpy 2 and litestar 2.23 deprecate; warned once, at its import.
pytestmark = [
    pytest.mark.filterwarnings("ignore:numpy.core is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Call to deprecated function 'Dependency':DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Use of deprecated class 'DependencyKwarg':DeprecationWarning"),
]


def test_a_deleted_snapshot_is_gone_and_the_others_stay(tmp_path: Path) -> None:
    from evidently import Dataset, Report
    from evidently.metrics import MeanValue
    from evidently.ui.workspace import Workspace

    store = Workspace.create(str(tmp_path))
    data = Dataset.from_pandas(pd.DataFrame({"price": [1.0, 2.0]}))
    projects = {name: store.create_project(name) for name in ("toy", "other")}
    began = datetime.now(UTC)
    ids = [
        str(store.add_run(projects[name].id, Report([MeanValue(column="price")]).run(data)).id)
        for name in ("toy", "toy", "other")
    ]
    found = stored_snapshots(tmp_path, "toy")
    assert {one.name for one in found} == set(ids[:2])
    assert all(one.bytes > 0 and abs((one.at - began).total_seconds()) < 60 for one in found)
    for _ in range(2):  # a second time changes nothing
        delete_snapshot(tmp_path, "toy", ids[0])
        again = Workspace.create(str(tmp_path))
        left = {name: [str(id_) for id_ in again.list_runs(project.id)] for name, project in projects.items()}
        assert left == {"toy": [ids[1]], "other": [ids[2]]}
    delete_snapshot(tmp_path, "toy", ids[2])  # of another data set
    assert len(stored_snapshots(tmp_path, "other")) == 1
    assert stored_snapshots(tmp_path / "none", "toy") == []
