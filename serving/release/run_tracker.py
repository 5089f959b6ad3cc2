"""One MLflow run, as training and evaluation log to it."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_BATCH = 100  # parameters that MLflow accepts at once
MAX_PARAM_LENGTH = 6000  # characters


@dataclass(frozen=True)
class RunTracker:
    """One MLflow run: what is logged to it, and the folder of the checkpoints of its fit."""

    client: "MlflowClient"
    run_id: str
    checkpoints: Path | None = None

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Logs one point of the learning curve; ndcg@10 becomes ndcg_at_10, because MLflow allows no @."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(name.replace("@", "_at_"), float(value), now, step) for name, value in metrics.items()]
        for start in range(0, len(points), MAX_BATCH):
            self.client.log_batch(self.run_id, metrics=points[start : start + MAX_BATCH])

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Logs final metrics."""
        self.log(0, dict(metrics))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Logs settings; nested ones get dotted names.

        MLflow does not allow to change a setting that was logged before.
        """
        from mlflow.entities import Param

        flat = [Param(name, str(value)[:MAX_PARAM_LENGTH]) for name, value in _flatten(params)]
        for start in range(0, len(flat), MAX_BATCH):
            self.client.log_batch(self.run_id, params=flat[start : start + MAX_BATCH])

    def log_file(self, path: Path, folder: str = "") -> None:
        """Logs a file, or a folder with its content, as an artifact below `folder`."""
        self.client.log_artifact(self.run_id, str(path), folder or None)

    def log_bytes(self, name: str, content: bytes) -> None:
        """Logs an artifact from memory; the name may contain folders, as in "plots/curve.png"."""
        target = PurePosixPath(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / target.name
            path.write_bytes(content)
            self.log_file(path, "" if target.parent == PurePosixPath() else str(target.parent))


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings as pairs of a dotted name and a value."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
