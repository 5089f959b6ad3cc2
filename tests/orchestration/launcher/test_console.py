"""The last lines that the command prints."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.launcher import platform_state
from orchestration.launcher.console import next_steps
from orchestration.settings import Settings
from serving.release.registry import Registry


def test_addresses_and_an_example_request_only_for_services_that_keep_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.read(home=tmp_path, dataset="custom_b2b")
    lists = platform_state.lists_file(settings)
    lists.parent.mkdir(parents=True)
    pq.write_table(pa.table({"user_id": ["7"]}), lists)
    monkeypatch.setattr(Registry, "_experiment", lambda _self, dataset: f"id-of-{dataset}")
    running = next_steps(settings, once=False)
    assert all(url in running for url in settings.urls.values())
    assert f"{settings.urls['service']}/docs\n" in running
    assert f"{settings.urls['mlflow']}/#/experiments/id-of-custom_b2b/runs?workflowType=machine_learning\n" in running
    assert platform_state.curl_line(settings) in running
    finished = next_steps(settings, once=True)
    assert "http" not in finished
    assert "tradewind run --dataset custom_b2b" in finished
