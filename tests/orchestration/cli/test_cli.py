"""The command in a shell: exit codes, one-line errors, no partial files."""

import gzip
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from click import Parameter
from typer.core import TyperGroup, TyperOption
from typer.main import get_command
from typer.testing import CliRunner

from orchestration.cli import app
from orchestration.launcher import console
from recommenders.datasets.all_datasets import DATASETS
from recommenders.storage.locks import locked
from recommenders.training import benchmark_run

TRADEWIND = str(Path(sys.executable).with_name("tradewind"))


def tradewind(*arguments: str, home: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "TRADEWIND_HOME": str(home), **environment}
    return subprocess.run([TRADEWIND, *arguments], capture_output=True, text=True, timeout=120, env=env)


Command = Callable[..., "subprocess.CompletedProcess[str]"]


def one_line(done: "subprocess.CompletedProcess[str]", code: int = 2) -> str:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("tradewind: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_the_command_ends_without_a_search_for_cycles(tmp_path: Path) -> None:
    """With the libraries of a run the search took two seconds after everything was done."""
    code = """
import atexit, gc, sys
from orchestration.cli import main
atexit.register(lambda: print("frozen", gc.get_freeze_count() > 0))  # the last registered runs first
sys.argv = ["tradewind", "data", "--help"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "frozen True")


HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def damaged(folder: Path, kind: str) -> Path:
    """A source of online_retail that cannot be read, with a given kind of damage."""
    path = folder / f"{kind}.csv"
    if kind == "truncated":
        path = folder / "truncated.csv.gz"
        whole = gzip.compress(
            (HEADER + "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,UK\n" * 20_000).encode()
        )
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "wrong_column":
        path.write_text(HEADER.replace("CustomerID", "Client") + "1,85123A,X,6,2010-12-01 08:26:00,2.5,17850,UK\n")
    elif kind == "empty":
        path.touch()
    elif kind == "html":
        path.write_text("<!DOCTYPE html>\n<html><body>Not found</body></html>\n")
    return path


@pytest.mark.parametrize("kind", ["missing", "truncated", "wrong_column", "empty", "html"])
def test_a_damaged_source_is_a_one_line_error_and_writes_nothing(run_here: Command, tmp_path: Path, kind: str) -> None:
    source = damaged(tmp_path, kind)
    done = run_here("train", "--dataset", "online_retail", "--source", str(source), home=tmp_path / "home")
    message = one_line(done)
    assert source.name in message
    assert not list((tmp_path / "home").rglob("*.parquet"))
    assert not (tmp_path / "home" / "sources.json").exists()


def test_an_unknown_name_is_an_error_with_the_allowed_names(run_here: Command, tmp_path: Path) -> None:
    assert "choose from amazon, custom_b2b, movielens, online_retail, retailrocket" in one_line(
        run_here("run", "--dataset", "netflix", home=tmp_path)
    )
    config = tmp_path / "bad.yaml"
    config.write_text("models:\n  ncff: {}\n")
    message = one_line(run_here("train", "--config", str(config), home=tmp_path))
    assert "ncff" in message
    assert "neural_collaborative" in message


def test_a_missing_source_is_an_error_with_the_option_to_give(run_here: Command, tmp_path: Path) -> None:
    done = run_here("train", "--dataset", "online_retail", home=tmp_path, TRADEWIND_REAL_DATA="")
    assert "--source" in one_line(done)


def test_a_used_port_is_an_error_with_its_process_and_the_fix(run_here: Command, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        message = one_line(run_here("run", "--once", home=tmp_path, TRADEWIND_SERVICE_PORT=str(port)))
    assert str(port) in message
    assert "TRADEWIND_SERVICE_PORT" in message


def test_a_setting_that_is_not_a_number_is_a_one_line_error(run_here: Command, tmp_path: Path) -> None:
    message = one_line(run_here("status", home=tmp_path, TRADEWIND_DAGSTER_PORT="soon"))
    assert "TRADEWIND_DAGSTER_PORT" in message
    assert "soon" in message


def test_a_refused_release_is_a_one_line_error_but_not_bad_input(run_here: Command, tmp_path: Path) -> None:
    assert "no version is published" in one_line(run_here("release", "promote", "3", home=tmp_path), code=1)
    assert "no version serves" in one_line(run_here("release", "rollback", home=tmp_path), code=1)


def test_status_of_an_empty_home_is_not_an_error(run_here: Command, tmp_path: Path) -> None:
    done = run_here("status", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["champion"] is None


def test_data_list_names_every_source(tmp_path: Path) -> None:
    done = tradewind("data", "list", "--json", home=tmp_path)
    assert {row["name"] for row in json.loads(done.stdout)} == set(DATASETS)


def commands(group: TyperGroup, above: str = "") -> Iterator[tuple[str, list[Parameter]]]:
    """Each command of a group: its name and its parameters."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{above}{name} ")
        yield above + name, command.params


def without_layout(text: str) -> str:
    """The text without spaces, line breaks and the frame of the help."""
    return re.sub(r"[\s│]", "", text)


COMMANDS = dict(commands(cast(TyperGroup, get_command(app))))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_whole_text_of_each_option(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0
    shown = without_layout(done.output)
    for option in COMMANDS[command]:
        if isinstance(option, TyperOption) and not option.hidden:
            assert option.help
            assert without_layout(option.help) in shown
            assert not isinstance(option.show_default, str) or without_layout(option.show_default) in shown


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--k", "0"], "--k: got 0"),
        (["--models", ","], "--models: got ','"),
        (["--models", ""], "--models: got ''"),
        (["--models", " , "], "--models: got ' , '"),
    ],
)
def test_benchmark_refuses_an_empty_option_before_it_trains(
    given: list[str], expected: str, run_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_run, "evaluate_files", lambda *_: pytest.fail("it evaluates"))
    done = run_here("benchmark", "--train", "a.csv", "--test", "b.csv", *given, home=tmp_path)
    assert expected in one_line(done)


@pytest.mark.parametrize(
    "given", [["--train", "a.csv", "--test", "b.csv"], ["--models", ""], ["--k", "5"], ["--repeat"]]
)
def test_the_former_spelling_of_benchmark_is_an_error_that_names_the_new_one(
    given: list[str], run_here: Command, tmp_path: Path
) -> None:
    message = one_line(run_here("evaluate", *given, home=tmp_path))
    assert "is called tradewind benchmark --train FILE --test FILE now" in message


def test_benchmark_needs_both_files(run_here: Command, tmp_path: Path) -> None:
    done = run_here("benchmark", "--train", "a.csv", home=tmp_path)
    assert (done.returncode, "--test" in done.stderr) == (2, True)


def test_ctrl_c_prints_one_line_and_exits_with_130(
    run_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(console, "run_platform", interrupted)
    done = run_here("run", "--dataset", "custom_b2b", home=tmp_path)
    assert (done.returncode, done.stderr.strip()) == (130, "tradewind: interrupted")


def test_a_second_run_in_the_same_home_is_refused(run_here: Command, tmp_path: Path) -> None:
    with locked(tmp_path / ".run.lock"), socket.socket() as first:
        first.bind(("127.0.0.1", 0))
        first.listen()
        done = run_here("run", home=tmp_path, TRADEWIND_SERVICE_PORT=str(first.getsockname()[1]))
    assert f"another `tradewind run` holds {tmp_path}" in one_line(done)


def test_release_list_does_not_cut_names_and_shows_why_the_gate_failed(
    run_here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = {"model": "hybrid_learned", "created": "2026-11-23T08:05:42+00:00", "data_version": "1"}
    rows = [
        console.VersionRow(12, aliases=[], primary_metric=[0.31, 0.3, 0.32], promoted=False, reasons=["worse"], **same),
        console.VersionRow(11, aliases=["champion"], primary_metric=None, promoted=True, reasons=["better"], **same),
    ]
    monkeypatch.setattr(console, "versions_of", lambda _: rows)
    done = run_here("release", "list", home=tmp_path, COLUMNS="40")
    _, failed, why, champion = done.stdout.splitlines()
    assert failed.split() == ["12", "hybrid_learned", "0.310", "[0.300,", "0.320]", "failed", "2026-11-23", "08:05"]
    assert why.strip() == "worse"
    assert champion.split() == ["11", "hybrid_learned", "passed", "2026-11-23", "08:05", "champion"]
    assert max(map(len, (failed, champion))) <= 80
    first, _ = json.loads(run_here("release", "list", "--json", home=tmp_path).stdout)
    assert first == {
        **same,
        "version": 12,
        "aliases": [],
        "ndcg@10": [0.31, 0.3, 0.32],
        "promoted": False,
        "reasons": ["worse"],
    }
