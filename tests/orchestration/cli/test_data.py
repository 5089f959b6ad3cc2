"""`tradewind data` in a shell: profile, daily files, versions, restore, download and simulation."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestration.cli import main
from orchestration.launcher.runs import materialise
from orchestration.settings import Settings
from recommenders.datasets.downloads.fetch import Outcome

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
N_DAYS, N_LINES = 5, 300


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The invoices of a wholesaler over five days, with one broken line."""
    path = tmp_path_factory.mktemp("log") / "log.csv"
    lines = [
        f"{day * N_LINES + n},{20000 + n % 50},THING,{n % 9 + 1},2010-12-{day:02} 10:{n % 60:02}:00,1.5,{n % 40 + 1},UK"
        for day in range(1, N_DAYS + 1)
        for n in range(N_LINES)
    ]
    path.write_text("\n".join([HEADER, *lines, "not,a,line", ""]))
    return path


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


Data = Callable[..., Done]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Data:
    """Runs `tradewind data ...` in this process, in its own home."""
    monkeypatch.setenv("TRADEWIND_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRADEWIND_REAL_DATA", "")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr("sys.argv", ["tradewind", "data", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return run


def test_daily_files_are_written_and_an_earlier_version_is_restored(data: Data, log: Path, tmp_path: Path) -> None:
    written = data("daily-files", "online_retail", "--until", "2010-12-04", "--source", str(log), "--json")
    assert len(list(Path(json.loads(written.out)["folder"]).glob("*.csv"))) == 4
    page = tmp_path / "pages" / "page.md"
    found = json.loads(data("describe", "online_retail", "--output", str(page), "--json").out)
    assert (found["rows"]["read"], found["rows"]["quarantined"]) == (4 * N_LINES, 0)
    assert "# online_retail" in page.read_text()
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert data("daily-files", "online_retail", "--until", "2010-12-31").code == 0
    found = json.loads(data("describe", "online_retail", "--json").out)
    assert (found["rows"]["read"], found["rows"]["quarantined"]) == (N_DAYS * N_LINES + 1, 1)

    assert data("restore", "online_retail", "0").code == 0
    found = json.loads(data("describe", "online_retail", "--json").out)
    assert found["rows"]["read"] == 4 * N_LINES
    newest, *_ = json.loads(data("versions", "online_retail", "--json").out)
    assert (newest["version"], newest["restored_from"]) == (2, 0)
    assert data("restore", "online_retail", "latest").code == 0
    found = json.loads(data("describe", "online_retail", "--json").out)
    assert found["rows"]["read"] == N_DAYS * N_LINES + 1


def test_a_restored_version_needs_no_source(data: Data, log: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "log.csv").write_text(log.read_text())
    assert data("describe", "online_retail", "--source", str(source)).code == 0
    (source / "more.csv").write_text(log.read_text().replace("2010-12-0", "2011-01-0"))
    assert data("describe", "online_retail").code == 0
    assert data("restore", "online_retail", "0").code == 0
    source.rename(tmp_path / "gone")
    found = data("describe", "online_retail", "--json")
    assert json.loads(found.out)["rows"]["read"] == N_DAYS * N_LINES + 1
    done = materialise(
        Settings.read(dataset="online_retail"), ["raw_dataset", "interactions", "items", "users", "quarantine"]
    )
    assert done.run_id
    assert data("restore", "online_retail", "latest").code == 0
    assert "no such file or folder" in data("describe", "online_retail").err


def test_data_that_a_run_refuses_can_be_profiled(data: Data, tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text(
        f"{HEADER}\n1,85123A,A,6,2010-12-01 08:26:00,2.5,17850,UK\n2,85123A,A,six,2010-12-01 08:26:00,1,1,UK\n"
    )
    found = data("describe", "online_retail", "--source", str(path))
    assert found.code == 0
    assert "quantity is not a number" in found.out
    assert "A run would stop here: 1 of 2 rows (50.0%) are quarantined; at most 5.0% may be" in found.err
    assert "A run would stop here: 1 interactions are kept; at least 1,000" in found.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("restore", "online_retail", "3"), "no version 3"),
        (("restore", "online_retail", "soon"), "allowed: a number of `tradewind data versions`, or latest"),
        (("daily-files", "movielens", "--until", "2010-12-04"), "allowed: online_retail"),
        (("feed", "online_retail", "--until", "2010-12-04"), "data feed is called tradewind data daily-files now"),
        (("replay", "online_retail", "--until", "2010-12-04"), "data replay is called tradewind data daily-files now"),
        (("fetch", "netflix", "--yes"), "unknown dataset 'netflix'"),
        (("fetch", "all", "--variant", "ml-25m"), "leave it out"),
        (("make", "--to", "world", "--scenario", "flood:2026-01-01:1"), "unknown scenario 'flood'"),
        (("make", "--to", "world", "--scenario", "churn"), "KIND:FIRST-DAY:STRENGTH"),
        (("make", "--to", "world", "--scale", "1000"), "scale of the B2B world is 1000"),
    ],
)
def test_an_invalid_command_is_a_one_line_error(data: Data, arguments: tuple[str, ...], message: str) -> None:
    done = data(*arguments)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert message in done.err


def test_downloaded_files_become_the_source(data: Data, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Outcome("online_retail", "fetched", str(log.parent))  # the tests do not download from the publisher
    monkeypatch.setattr("recommenders.datasets.downloads.fetch.fetch", lambda *_: outcome)
    assert data("fetch", "online_retail", "--yes").code == 0
    assert json.loads(data("describe", "online_retail", "--json").out)["rows"]["read"] == N_DAYS * N_LINES + 1


def test_a_market_with_a_scenario_is_written_and_read(data: Data, tmp_path: Path) -> None:
    world = tmp_path / "world"
    arguments = ["--to", str(world), "--scale", "0.05", "--scenario", "broken_feed:2026-05-01:0.2"]
    assert data("make", *arguments).code == 0
    found = json.loads(data("describe", "custom_b2b", "--source", str(world), "--json").out)
    assert found["rows"]["quarantined"] > 0
    assert found["rows"]["merged"] > 0
    assert "exists already" in data("make", *arguments).err
