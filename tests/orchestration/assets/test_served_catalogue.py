"""The asset of the served catalogue, run by Dagster on a custom data set with free attributes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from orchestration.definitions import definitions
from orchestration.jobs import DRIFT, RETRAINING
from orchestration.settings import Settings
from serving.steering.catalogue.files import Catalogue, read, read_record, record_file

ENTRY = {
    "interactions": {
        "files": "log.csv",
        "columns": {"user_id": "who", "item_id": "what", "timestamp": "at", "quantity": "n"},
    },
    "items": {
        "files": "items.csv",
        "columns": {"item_id": "sku", "title": "name", "price": "price"},
        "attributes": {"colour": "Farbe", "margin": {"column": "margin", "type": "number"}},
    },
    "users": {"files": "users.csv", "columns": {"user_id": "no"}, "attributes": {"income": "income"}},
}
ASSETS = ("raw_dataset", "interactions", "items", "users", "quarantine", "served_catalogue")


def write_shop(folder: Path, price: float = 5.0, n_bad: int = 0) -> None:
    bad = ["u1,A,2024-01-01,-1"] * n_bad
    log = [f"u{n % 50},{'AB'[n % 2]},2024-01-{n % 28 + 1:02}T{n % 24:02}:00:{n % 60:02},1" for n in range(1200)]
    (folder / "log.csv").write_text("\n".join(["who,what,at,n", *log, *bad]))
    (folder / "items.csv").write_text(f"sku,name,price,Farbe,margin\nA,Saw,{price},red,\nC,Axe,,,\n")
    (folder / "users.csv").write_text("no,income\nu1,high\n")


@pytest.fixture
def settings(tmp_path: Path, make_settings: Callable[..., Settings]) -> Settings:
    write_shop(tmp_path)
    (tmp_path / "datasets.yaml").write_text(yaml.safe_dump({"ours": ENTRY}, sort_keys=False))
    return make_settings(tmp_path / "home", dataset="ours", datasets=tmp_path / "datasets.yaml")


def run(settings: Settings, *, must_succeed: bool = True) -> dg.ExecuteInProcessResult:
    job = definitions(settings).resolve_job_def(RETRAINING)
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            instance=instance,
            partition_key="ours",
            asset_selection=[dg.AssetKey(name) for name in ASSETS],
            raise_on_error=must_succeed,
        )


def served(settings: Settings) -> Catalogue:
    record = record_file(settings.pointer)
    named = read_record(record)
    assert named is not None
    return read(record, named.version)


def value(catalogue: Catalogue, id_: str, name: str) -> Any:
    return catalogue.items.columns[name].value(catalogue.items.row(id_))


def test_the_catalogue_is_renewed_from_the_tables_without_a_training(settings: Settings, tmp_path: Path) -> None:
    result = run(settings)
    first = served(settings)
    assert list(first.items.ids) == ["A", "B", "C"]  # B is an item of the log only
    assert [value(first, "A", name) for name in ("title", "price", "colour", "margin")] == ["Saw", 5.0, "red", None]
    assert first.items.kinds["margin"] == "number"  # declared; no item has one
    assert first.users.columns["income"].value(first.users.row("u1")) == "high"
    (shown,) = result.asset_materializations_for_node("served_catalogue")
    assert shown.metadata["version"].value == first.version
    assert shown.metadata["attributes of items"].value["colour"] == "text"
    run(settings)
    assert served(settings).version == first.version
    write_shop(tmp_path, price=6.0)
    run(settings)
    assert value(served(settings), "A", "price") == 6.0


def test_a_broken_feed_does_not_renew_it(settings: Settings, tmp_path: Path) -> None:
    run(settings)
    before = served(settings).version
    write_shop(tmp_path, price=0.01, n_bad=500)
    assert not run(settings, must_succeed=False).success
    assert served(settings).version == before


def test_the_hourly_job_renews_it_too() -> None:
    job = definitions(Settings.read()).resolve_job_def(DRIFT)
    assert {"served_catalogue", "drift_report"} <= {
        key.to_user_string() for key in job.asset_layer.executable_asset_keys
    }
