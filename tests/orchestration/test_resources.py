"""The resources: one data set of the platform, and the registry of all of them."""

from collections.abc import Callable
from pathlib import Path

from orchestration.resources import Datasets, resources
from orchestration.settings import Settings


def test_a_source_belongs_to_the_served_data_set_only(tmp_path: Path, make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(tmp_path / "home", dataset="online_retail", source=tmp_path / "retail.csv")
    datasets = Datasets(settings)
    assert (datasets.served.name, datasets.served.source) == ("online_retail", tmp_path / "retail.csv")
    assert datasets["custom_b2b"].source == settings.home / "sources" / "custom_b2b"
    assert datasets["custom_b2b"].tables.folder == settings.lake / "custom_b2b" / "tables"


def test_one_registry_has_the_pointers_of_all_data_sets(tmp_path: Path, make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(tmp_path / "home", dataset="online_retail", champion_file=tmp_path / "own.json")
    registry = resources(settings)["registry"]
    assert registry.pointer_file("online_retail") == tmp_path / "own.json"
    assert registry.pointer_file("custom_b2b") == settings.for_dataset("custom_b2b").pointer


def test_the_signature_changes_with_a_file(tmp_path: Path, make_settings: Callable[..., Settings]) -> None:
    source = tmp_path / "retail.csv"
    source.write_text("InvoiceNo\n1\n")
    dataset = Datasets(make_settings(tmp_path / "home", dataset="online_retail", source=source)).served
    before = dataset.signature()
    assert dataset.signature() == before
    source.write_text("InvoiceNo\n1\n2\n")
    assert dataset.signature() != before
