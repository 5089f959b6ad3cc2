"""`tradewind batch` in a home with a champion, and what it refuses."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.popularity import Popularity
from serving.batch import lists
from serving.champion.pointer import Pointer, fingerprint, write_pointer
from serving.settings import ServingSettings

DATASET = "custom_b2b"
PIN = "rules: [{name: top, action: pin, slot: 1, items: 'item.id == \"i4\"'}]"

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Popularity of six items, of which users u0 to u4 bought i0 most often. Rules pin i4."""
    settings = ServingSettings(home=tmp_path / "home", dataset=DATASET)
    columns, rows = np.array([0, 0, 0, 1, 1, 2, 3, 4], np.int32), np.array([0, 1, 2, 3, 4, 0, 1, 2], np.int32)
    ones = np.ones(len(columns), np.float32)
    users, items = IdMap.from_ids(f"u{n}" for n in range(5)), IdMap.from_ids(f"i{n}" for n in range(6))
    log = Interactions(users, items, rows, columns, np.arange(8), ones, ones, np.ones(6, np.bool_), True)
    folder = Popularity().fit(log).save(settings.champions / DATASET / "2")
    place = (f"{DATASET}/2", fingerprint(folder))
    write_pointer(settings.pointer, Pointer(DATASET, "popularity", 2, *place, "2026-01-01T00:00:00", "run"))
    (tmp_path / "rules.yaml").write_text(PIN)
    return settings.home


@pytest.fixture
def batch(run_here: Command, home: Path) -> Command:
    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        rules = {"TRADEWIND_RULES_FILE": str(home.parent / "rules.yaml")}
        return run_here("batch", "--dataset", DATASET, *arguments, home=home, **rules, **environment)

    return run


def test_all_known_users_get_lists_by_the_rules(batch: Command, home: Path) -> None:
    done = batch("--n", "3")
    path = home / "lists" / f"{DATASET}.parquet"
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.strip() == f"15 rows in 5 lists of 5 users by version 2 in {path}"  # no progress bar in a log
    rows = pq.read_table(path).to_pylist()
    assert [row["item_id"] for row in rows] == ["i4", "i0", "i1"] * 5
    assert [row["rules"] for row in rows[:3]] == [["top"], [], []]


def test_the_summary_is_one_line_of_json(batch: Command, home: Path, tmp_path: Path) -> None:
    users, output = tmp_path / "users.csv", tmp_path / "new" / "lists.csv"
    users.write_text('user_id,history\nu0,\nother,"[""i2"", ""lost""]"\n')
    done = batch("--users", str(users), "--no-rules", "--output", str(output), "--json", "--scene", "discover")
    found = json.loads(done.stdout)
    assert (found["dataset"], found["model"], found["version"]) == (DATASET, "popularity", 2)
    assert (found["users"], found["lists"], found["rows"], found["unknown_items"]) == (2, 2, 4 + 5, 1)
    assert (found["strategies"], found["rules"], found["file"]) == ({"known_user": 1, "history": 1}, {}, str(output))
    assert found["bytes"] == output.stat().st_size
    assert len(output.read_text().splitlines()) == 1 + 9
    assert json.loads(output.with_name("lists.csv.json").read_text())["scene"] == "discover"


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (["--n", "0"], 2, "batch n: got 0; allowed: a whole number from 1 to 100"),
        (["--scene", "gift"], 2, "batch scene: got 'gift'; allowed: for_you, reorder, discover or basket"),
        (["--scene", "basket"], 2, "give --users FILE with the column history"),
        (["--fields", "title, price"], 2, "custom_b2b has no served catalogue"),
        (["--filters", "price<3"], 2, "batch filters: got 'price<3'; allowed: a JSON object"),
        (["--output", "lists.xlsx"], 2, "--output: got lists.xlsx; allowed: a name that ends in .parquet or .csv"),
        (["--format", "json"], 2, "--format: got 'json'; allowed: parquet or csv"),
        (["--users", "none.csv"], 2, "--users: no such file: none.csv"),
    ],
)
def test_bad_input_is_a_one_line_error_and_writes_nothing(
    batch: Command, home: Path, given: list[str], code: int, message: str
) -> None:
    done = batch(*given)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (home / "lists").exists()


def test_a_folder_is_no_output(batch: Command, tmp_path: Path) -> None:
    folder = tmp_path / "lists.csv"
    folder.mkdir()
    done = batch("--output", str(folder))
    assert (done.returncode, f"--output: got the folder {folder}" in done.stderr) == (2, True)


def test_rules_that_cannot_be_used_stop_it_unless_they_do_not_count(batch: Command, home: Path) -> None:
    (home.parent / "rules.yaml").write_text("rules: [{name: top}]")
    done = batch()
    assert done.returncode == 1
    assert "no lists were written: " in done.stderr
    assert "rules.yaml" in done.stderr
    assert not (home / "lists").exists()
    assert batch("--no-rules").returncode == 0


def test_a_home_without_a_champion_is_an_error(run_here: Command, tmp_path: Path) -> None:
    done = run_here("batch", "--dataset", DATASET, home=tmp_path)
    assert done.returncode == 1
    assert "no champion yet" in done.stderr


def test_ctrl_c_leaves_no_half_file(batch: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    make_at = lists.make_at

    def interrupted(*given: Any) -> Any:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(make_at(*given))
        return made[-1]

    monkeypatch.setattr(lists, "make_at", interrupted)
    done = batch()
    assert (done.returncode, done.stderr.strip()) == (130, "tradewind: interrupted")
    assert list((home / "lists").iterdir()) == []
