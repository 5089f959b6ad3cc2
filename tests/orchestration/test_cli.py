"""The command as a shell sees it: exit codes, one-line errors, nothing half-written."""

import gzip
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from recommenders.datasets.catalog import DATASETS

TRADEWIND = str(Path(sys.executable).with_name("tradewind"))


def tradewind(*arguments: str, home: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "TRADEWIND_HOME": str(home), **environment}
    return subprocess.run([TRADEWIND, *arguments], capture_output=True, text=True, timeout=120, env=env)


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("tradewind: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def damaged(folder: Path, kind: str) -> Path:
    """A source of online_retail that cannot be read, by kind of damage."""
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
def test_a_damaged_source_is_one_line_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    source = damaged(tmp_path, kind)
    done = tradewind("train", "--dataset", "online_retail", "--source", str(source), home=tmp_path / "home")
    message = one_line(done)
    assert source.name in message
    assert not list((tmp_path / "home").rglob("*.parquet"))
    assert not (tmp_path / "home" / "sources.json").exists()


def test_unknown_names_are_told_with_the_names_there_are(tmp_path: Path) -> None:
    assert "choose from amazon, custom_b2b, movielens, online_retail, retailrocket" in one_line(
        tradewind("run", "--dataset", "netflix", home=tmp_path)
    )
    config = tmp_path / "bad.yaml"
    config.write_text("models:\n  ncff: {}\n")
    message = one_line(tradewind("train", "--config", str(config), home=tmp_path))
    assert "ncff" in message
    assert "neural_collaborative" in message


def test_a_source_that_is_not_known_says_what_to_give(tmp_path: Path) -> None:
    done = tradewind("train", "--dataset", "online_retail", home=tmp_path, TRADEWIND_REAL_DATA="")
    assert "--source" in one_line(done)


def test_a_taken_port_is_named_with_its_holder_and_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        message = one_line(tradewind("run", "--once", home=tmp_path, TRADEWIND_SERVICE_PORT=str(port)))
    assert str(port) in message
    assert "TRADEWIND_SERVICE_PORT" in message


def test_a_setting_that_is_no_number_is_one_line(tmp_path: Path) -> None:
    message = one_line(tradewind("status", home=tmp_path, TRADEWIND_DAGSTER_PORT="soon"))
    assert "TRADEWIND_DAGSTER_PORT" in message
    assert "soon" in message


def test_release_without_versions_says_so(tmp_path: Path) -> None:
    assert "none is published" in one_line(tradewind("release", "promote", "3", home=tmp_path))
    one_line(tradewind("release", "rollback", home=tmp_path))


def test_status_of_an_empty_home_is_no_error(tmp_path: Path) -> None:
    done = tradewind("status", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["champion"] is None


def test_data_list_names_every_source(tmp_path: Path) -> None:
    done = tradewind("data", "list", "--json", home=tmp_path)
    assert {row["name"] for row in json.loads(done.stdout)} == set(DATASETS)


@pytest.mark.parametrize("command", ["run", "data", "train", "evaluate", "release", "batch", "status"])
def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    done = tradewind(command, "--help", home=tmp_path)
    assert done.returncode == 0
    assert len(done.stdout.split()) > 20
