"""Items that another one succeeds: a renamed item is one item in the tables, the models and the lists."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recommenders.datasets.custom.spec import CustomDatasetSpec, read_specs
from recommenders.datasets.custom.successors import final_successors
from recommenders.datasets.spec import Tables
from recommenders.events.interactions import Interactions
from recommenders.features.items import encode_items_as_of
from recommenders.models import all_models
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.content_based import ContentBased
from recommenders.splitting.temporal import training_log
from recommenders.storage.bundle import read

START = datetime(2024, 1, 1, tzinfo=UTC)


def spec_of(folder: Path, items: str, log: str, **entry: Any) -> CustomDatasetSpec:
    folder.mkdir(exist_ok=True)
    (folder / "log.csv").write_text(f"who,what,at\n{log}")
    (folder / "items.csv").write_text(items)
    columns = {"item_id": "sku", "title": "name", "category": "group"}
    if "next" in items.splitlines()[0]:
        columns["successor"] = "next"
    if "since" in items.splitlines()[0]:
        columns["valid_from"] = "since"
    content = {
        "interactions": {"files": "log.csv", "columns": {"user_id": "who", "item_id": "what", "timestamp": "at"}},
        "items": {"files": "items.csv", "columns": columns},
        **entry,
    }
    path = folder / "datasets.yaml"
    path.write_text(yaml.safe_dump({"ours": content}))
    spec = read_specs(path)["ours"]
    assert isinstance(spec, CustomDatasetSpec)
    return spec


def read_tables(folder: Path, items: str, log: str = "u1,A,2024-05-01\n", **entry: Any) -> Tables:
    return spec_of(folder, items, log, **entry).read(folder)


def listed(tables: Tables) -> dict[str, list[str] | None]:
    pairs = zip(tables.items["item_id"].to_pylist(), tables.items["predecessors"].to_pylist(), strict=True)
    return {item_id: text and json.loads(text) for item_id, text in pairs}


CHAIN = "sku,name,group,next\nA,Saw,Tools,B\nB,Saw 2,Tools,C\nC,Saw 3,Tools,\nD,Paint,Paint,-\nX,Saw X,Tools,C\n"


def test_a_chain_ends_at_its_last_item(tmp_path: Path) -> None:
    log = "u1,A,2024-05-01\nu2,B,2024-05-02\nu3,C,2024-05-03\nu4,D,2024-05-04\nu5,Z,2024-05-05\n"
    tables = read_tables(tmp_path, CHAIN, log)
    assert tables.interactions["item_id"].to_pylist() == ["C", "C", "C", "D", "Z"]
    assert listed(tables) == {"C": ["A", "B", "X"], "D": None, "Z": None}
    assert tables.items["title"].to_pylist() == ["Saw 3", "Paint", None]
    assert tables.quarantine.num_rows == 0
    assert (tables.counts.read, tables.counts.kept) == (5, 5)


def test_equal_rows_of_both_numbers_count_once(tmp_path: Path) -> None:
    tables = read_tables(tmp_path, CHAIN, "u1,A,2024-05-01\nu1,C,2024-05-01\n")
    assert (tables.counts.kept, tables.counts.merged) == (1, 1)


@pytest.mark.parametrize(
    ("items", "reasons", "kept"),
    [
        ("A,Saw,T,nowhere\n", ["next is no item; the value is left out"], ["A"]),
        ("A,Saw,T,A\n", ["next leads back to the item; the value is left out"], ["A"]),
        ("A,Saw,T,B\nB,Axe,T,A\n", ["next leads back to the item; the value is left out"] * 2, ["A", "B"]),
        ("A,Saw,T,B\nB,Axe,T,C\nC,Axe,T,B\n", ["next leads back to the item; the value is left out"] * 2, ["B", "C"]),
        ("A,Saw,T,B\nB,Axe,T,nowhere\n", ["next is no item; the value is left out"], ["B"]),
    ],
)
def test_a_bad_successor_is_left_out_and_quarantined(
    tmp_path: Path, items: str, reasons: list[str], kept: list[str]
) -> None:
    tables = read_tables(tmp_path, f"sku,name,group,next\n{items}")
    assert tables.quarantine["reason"].to_pylist() == reasons
    assert tables.counts.quarantined == len(reasons)
    assert tables.items["item_id"].to_pylist() == kept
    assert tables.interactions["item_id"].to_pylist() == ["A" if "A" in kept else "B"]


def test_the_newest_row_of_an_item_decides(tmp_path: Path) -> None:
    rows = "A,Saw,T,,2024-01-01\nA,Saw,T,B,2024-03-01\nB,Axe,T,C,2024-01-01\nB,Axe,T,,2024-04-01\nC,Oil,T,,\n"
    tables = read_tables(tmp_path, f"sku,name,group,next,since\n{rows}")
    assert listed(tables) == {"B": ["A"], "C": None}
    assert tables.items.num_rows == 3  # both rows of B


def test_events_of_an_item_that_is_quarantined_elsewhere_follow_its_successor(tmp_path: Path) -> None:
    log = "u1,A,2024-05-01\nu2,Z,2024-05-02\n"
    tables = read_tables(tmp_path, CHAIN, log, unknown_items="quarantine")
    assert tables.interactions["item_id"].to_pylist() == ["C"]
    assert tables.quarantine["reason"].to_pylist() == ["what is unknown in items"]


def test_without_successors_the_tables_are_as_before(tmp_path: Path) -> None:
    plain = CHAIN.replace(",next", "").replace(",B\n", "\n").replace(",C\n", "\n").replace(",-\n", "\n")
    plain = plain.replace("Saw 3,Tools,", "Saw 3,Tools")
    empty = "\n".join(f"{line},{'next' if not n else ''}" for n, line in enumerate(plain.splitlines())) + "\n"
    before, after = read_tables(tmp_path / "a", plain), read_tables(tmp_path / "b", empty)
    assert before.items.equals(after.items)
    assert before.interactions.equals(after.interactions)
    assert before.items["predecessors"].null_count == len(before.items)


def renamed_log(names: Any) -> str:
    """60 days of 30 users. names: (item, day) -> the number that it has on the day."""
    rng = np.random.default_rng(0)
    rows = []
    for day in range(60):
        for user in rng.choice(30, 8, replace=False).tolist():
            for item in rng.choice(5, 2, replace=False).tolist():
                at = START + timedelta(days=day, minutes=user)
                rows.append(f"u{user:02},{names(user % 2 * 5 + item, day)},{at:%Y-%m-%dT%H:%M:%SZ}\n")
    return "".join(rows)


ALL = "".join(f"N{n},Item {n},{'even' if n % 2 else 'odd'},\n" for n in range(10))


@pytest.fixture
def logs(tmp_path: Path) -> tuple[Interactions, Interactions, Tables, Tables]:
    """One with an item that was renamed twice, and one in which it always had the last number."""

    def renamed(item: int, day: int) -> str:
        return f"N{item}" if item != 3 or day >= 40 else "first" if day < 20 else "second"

    head = "sku,name,group,next\n"
    with_both = read_tables(
        tmp_path / "renamed", f"{head}{ALL}first,Old,x,second\nsecond,Older,y,N3\n", renamed_log(renamed)
    )
    plain = read_tables(tmp_path / "plain", f"{head}{ALL}", renamed_log(lambda item, day: f"N{item}"))
    protocol = spec_of(tmp_path / "plain", f"{head}{ALL}", "u1,A,2024-05-01\n").protocol
    logs = [training_log(tables.interactions, tables.items, protocol) for tables in (with_both, plain)]
    return logs[0], logs[1], with_both, plain


@pytest.mark.parametrize("model", [CollaborativeFiltering, ContentBased])
def test_a_renamed_item_gives_the_model_and_lists_of_one_id_throughout(
    logs: tuple[Interactions, Interactions, Tables, Tables], tmp_path: Path, model: Any
) -> None:
    renamed, plain, renamed_tables, plain_tables = logs
    assert renamed_tables.interactions.equals(plain_tables.interactions)
    assert renamed.items.row("first") == renamed.items.row("second") == renamed.items.row("N3") == plain.items.row("N3")
    assert plain.items.row("first") == -1
    bundles = []
    for name, log, tables in (("renamed", renamed, renamed_tables), ("plain", plain, plain_tables)):
        log.save(tmp_path / f"{name}-log")
        loaded = Interactions.load(tmp_path / f"{name}-log")
        features = encode_items_as_of(tables.items, loaded.items, loaded.last_event)
        bundles.append(model().fit(loaded, features).save(tmp_path / name))
    arrays = [(folder / "arrays.safetensors").read_bytes() for folder in bundles]
    assert arrays[0] == arrays[1]
    one, other = (all_models.load(folder) for folder in bundles)
    rows = np.arange(len(one.users_), dtype=np.int32)
    for found, expected in zip(
        one.recommend(rows, one.histories_, 10), other.recommend(rows, other.histories_, 10), strict=True
    ):
        assert found.tobytes() == expected.tobytes()
    assert one.items_.row("second") == one.items_.row("N3")
    assert "first" not in one.items_.ids.tolist()
    assert read(bundles[1]).context != read(bundles[0]).context  # only the one knows the aliases


@given(st.dictionaries(st.integers(1, 30), st.integers(0, 29), max_size=30))
def test_final_successors_follow_each_chain(pairs: dict[int, int]) -> None:
    chains = {str(item): str(to) for item, to in pairs.items() if to < item}  # always down, so there is no cycle
    found = final_successors(chains)
    assert found.keys() == chains.keys()
    for item, last in found.items():
        step = item
        while step in chains:
            step = chains[step]
        assert last == step
