"""Rows of a benchmark: a ratio above 1 is a win, and a bound is met or missed."""

import json
import subprocess
from pathlib import Path

import pytest
from measuring import result_table


@pytest.mark.parametrize(
    ("ours", "peer", "lower_is_better", "ratio"),
    [(2.0, 8.0, True, 4.0), (8.0, 2.0, True, 0.25), (8.0, 2.0, False, 4.0)],
)
def test_a_ratio_is_how_many_times_better_ours_is(
    ours: float, peer: float, lower_is_better: bool, ratio: float
) -> None:
    assert result_table.row("x", "s", ours, ("peer", peer), lower_is_better=lower_is_better)["ratio"] == ratio


@pytest.mark.parametrize(
    ("ours", "lower_is_better", "on", "floor", "met"),
    [
        (2.0, True, "ours", 3.0, True),
        (4.0, True, "ours", 3.0, False),
        (4.0, False, "ours", 3.0, True),
        (2.0, False, "ours", 3.0, False),
        (2.0, True, "ratio", 3.0, True),  # a peer of 8 costs 4 times as much
        (4.0, True, "ratio", 3.0, False),
        (30.0, False, "ratio", 3.0, True),
        (8.0, False, "ratio", 3.0, False),
    ],
)
def test_a_bound_is_met_or_missed(ours: float, lower_is_better: bool, on: str, floor: float, met: bool) -> None:
    line = result_table.row(
        "x", "s", ours, ("peer", 8.0), floor, 1e9 if not lower_is_better else 0.0, on, lower_is_better
    )
    assert line["floor_met"] is met
    assert line["met"] is (on == "ratio" and lower_is_better)  # a goal of 0 seconds is impossible, a ratio of 0 is not


def test_no_bound_is_met_without_a_measurement() -> None:
    line = result_table.row("x", "s", None, floor=1.0)
    assert (line["floor_met"], line["met"], line["ratio"]) == (None, None, None)


def test_met_and_missed_bounds_are_both_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for ours in (1.0, 3.0):
        result_table.show(result_table.row("x", "s", ours, floor=2.0, lower_is_better=True))
    assert [line.split("floor 2 ")[1] for line in capsys.readouterr().out.splitlines()] == ["met;", "MISSED;"]


def test_a_whole_run_writes_its_results_with_versions_date_and_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_table, "RESULTS", tmp_path / "results")
    rows = [result_table.row("x", "s", 1.0)]
    result_table.finish("some", rows, 0.0, False, {})
    assert not (tmp_path / "results").exists()
    result_table.finish("some", rows, 0.0, False, {"implicit": "0.7.3"}, whole=True)
    found = json.loads((tmp_path / "results" / "some.json").read_text())
    assert found["rows"] == rows
    assert found["versions"]["implicit"] == "0.7.3"
    assert {"date", "commit", "hardware", "seconds"} <= set(found)


def test_the_commit_has_a_remark_if_the_source_was_changed_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "recommenders" / "a.py"
    source.parent.mkdir()
    (tmp_path / "benchmarks").mkdir()
    source.write_text("a = 1\n")
    monkeypatch.setattr(result_table, "RESULTS", tmp_path / "benchmarks" / "results")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    assert len(result_table.commit()) == 40
    source.write_text("a = 2\n")
    assert result_table.commit().endswith(" and uncommitted changes")
