"""Downloads from a real HTTP server on loopback that fails in configurable ways."""

import gzip
import hashlib
import io
import json
import os
import pty
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.downloads.fetch import Outcome, consent, fetch, fetch_all, folder_of
from recommenders.datasets.downloads.publications import PUBLICATIONS, Download, Member, downloads, variants
from recommenders.datasets.downloads.transfer import RetryPolicy
from recommenders.datasets.sources.online_retail import COLUMNS
from recommenders.errors import ConfigurationError, DataError, UnknownNameError

QUICK = RetryPolicy(attempts=3, wait=0.01, timeout=5)
NOISE = random.Random(7).randbytes(400_000)  # not compressible, so a zip of it has the same size


@dataclass
class Page:
    """The content of one address of the server, and the server's behaviour there."""

    body: bytes
    etag: str = '"one"'
    modified: str = ""
    ranges: bool = True
    asks_version: bool = True  # whether If-Range is used
    type: str = "application/octet-stream"
    length: int | None = None  # declared instead of the real one
    statuses: list[int] = field(default_factory=list)  # sent first, one per request
    cuts: list[int] = field(default_factory=list)  # bytes after which the connection is cut, one per request
    pause: float = 0.0  # seconds between blocks


@dataclass
class Publisher:
    """The server: its pages, and a log of its requests: (path, Range, bytes sent)."""

    pages: dict[str, Page] = field(default_factory=dict)
    log: list[tuple[str, str, int]] = field(default_factory=list)
    url: str = ""

    def sent(self, path: str) -> list[int]:
        return [n for asked, _, n in self.log if asked == path]


def handler_of(publisher: Publisher) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            page = publisher.pages.get(self.path)
            status = 404 if page is None else page.statuses.pop(0) if page.statuses else 200
            if page is None or status != 200:
                publisher.log.append((self.path, self.headers.get("Range", ""), 0))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.give(page)

        def give(self, page: Page) -> None:
            asked = self.headers.get("Range", "")
            start, total = 0, len(page.body)
            same = self.headers.get("If-Range") in (None, page.etag or page.modified)
            if asked and page.ranges and (same or not page.asks_version):
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            for name, value in (("ETag", page.etag), ("Last-Modified", page.modified), ("Content-Type", page.type)):
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(page.length or total - start))
            self.end_headers()
            self.write(page, page.body[start:], asked)

        def write(self, page: Page, body: bytes, asked: str) -> None:
            end = page.cuts.pop(0) if page.cuts else len(body)
            place = len(publisher.log)
            publisher.log.append((self.path, asked, 0))
            try:
                for at in range(0, end, 16_384):
                    block = body[at : min(at + 16_384, end)]
                    publisher.log[place] = (self.path, asked, at + len(block))  # before the client can have it
                    self.wfile.write(block)
                    time.sleep(page.pause)
            except ConnectionError:  # the client closed the connection
                self.close_connection = True
                return
            if end < len(body):
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # the test must not use a proxy
    running = Publisher()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(running))
    server.daemon_threads = True
    running.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    server.shutdown()
    server.server_close()
    thread.join()


def zip_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name.replace("__", "/") + ".csv", body)
    return buffer.getvalue()


ZIP = zip_of(small__ratings=NOISE, small__movies=b"movieId,title,genres\n", small__notes=b"not wanted")


def download_of(publisher: Publisher, body: bytes = ZIP, **changes: Any) -> Download:
    """A download of the zip, which the server offers, with its checksum."""
    publisher.pages.setdefault("/small.zip", Page(body))
    members = (Member("small/ratings.csv", "ratings.csv"), Member("small/movies.csv", "movies.csv"))
    known = {"checksum": f"md5:{hashlib.md5(body).hexdigest()}", "n_bytes": len(body), "members": members}
    return Download("movielens", "ml-latest-small", f"{publisher.url}/small.zip", "small.zip", **(known | changes))


def reviews_of(publisher: Publisher, body: bytes | None = None) -> Download:
    """A gzip file that is not unpacked, without a checksum."""
    publisher.pages["/reviews.json.gz"] = Page(body or gzip.compress(NOISE))
    url = f"{publisher.url}/reviews.json.gz"
    return Download("amazon", "2018-5core:All_Beauty", url, "reviews.json.gz")


def get(folder: Path, *plan: Download, reports: list[str] | None = None, retry: RetryPolicy = QUICK) -> Outcome:
    report = [].append if reports is None else reports.append
    return fetch(plan[0].dataset, plan[0].variant, folder, lambda _: True, report, plan, retry)


def message(folder: Path, *plan: Download) -> str:
    """The error of a fetch that fails; always one line."""
    with pytest.raises(DataError) as caught:
        get(folder, *plan)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_members_appear_and_nothing_else_stays(publisher: Publisher, tmp_path: Path) -> None:
    outcome = get(tmp_path / "deep" / "folder", download_of(publisher))
    assert outcome.done == "fetched"
    assert outcome.files == ("ratings.csv", "movies.csv")
    assert names(tmp_path / "deep" / "folder") == [".fetched", "movies.csv", "ratings.csv"]
    assert (tmp_path / "deep" / "folder" / "ratings.csv").read_bytes() == NOISE
    assert json.loads(json.dumps(outcome.to_json()))["done"] == "fetched"


def test_a_second_fetch_sends_no_request(publisher: Publisher, tmp_path: Path) -> None:
    download, reports = download_of(publisher), list[str]()
    get(tmp_path, download)
    asked = len(publisher.log)
    outcome = fetch("movielens", "", tmp_path, lambda _: pytest.fail("asked"), reports.append, [download], QUICK)
    assert outcome.done == "already there"
    assert "already there" in reports[-1]
    assert len(publisher.log) == asked


def test_a_file_that_was_changed_is_fetched_again(publisher: Publisher, tmp_path: Path) -> None:
    download, reports = download_of(publisher), list[str]()
    get(tmp_path, download)
    (tmp_path / "ratings.csv").write_bytes(b"changed")
    assert get(tmp_path, download, reports=reports).done == "fetched"
    assert (tmp_path / "ratings.csv").read_bytes() == NOISE
    assert "changed since the download" in reports[0]


def test_a_cut_connection_is_resumed_with_only_the_rest(publisher: Publisher, tmp_path: Path) -> None:
    download, reports = download_of(publisher), list[str]()
    publisher.pages["/small.zip"].cuts = [200_000]
    get(tmp_path, download, reports=reports)
    assert publisher.log[1][1].startswith("bytes=")
    offset = int(publisher.log[1][1].removeprefix("bytes=").removesuffix("-"))
    assert 0 < offset <= 200_000
    assert publisher.sent("/small.zip") == [200_000, len(ZIP) - offset]
    assert (tmp_path / "ratings.csv").read_bytes() == NOISE
    assert "trying again in 0.01 s" in reports[1]


def test_attempts_with_new_bytes_do_not_count_as_failures(publisher: Publisher, tmp_path: Path) -> None:
    download = download_of(publisher)
    publisher.pages["/small.zip"].cuts = [50_000] * 7  # more cuts than attempts
    get(tmp_path, download)
    assert len(publisher.log) == 8
    assert (tmp_path / "ratings.csv").read_bytes() == NOISE


def test_a_server_without_ranges_sends_the_whole_file_again(publisher: Publisher, tmp_path: Path) -> None:
    download = download_of(publisher)
    publisher.pages["/small.zip"].cuts = [200_000]
    publisher.pages["/small.zip"].ranges = False
    get(tmp_path, download)
    assert publisher.sent("/small.zip") == [200_000, len(ZIP)]
    assert (tmp_path / "ratings.csv").read_bytes() == NOISE


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_version_a_part_is_not_resumed(publisher: Publisher, tmp_path: Path, etag: str) -> None:
    download = download_of(publisher)
    publisher.pages["/small.zip"].etag = etag
    publisher.pages["/small.zip"].cuts = [200_000]
    get(tmp_path, download)
    assert [asked for _, asked, _ in publisher.log] == ["", ""]


def test_the_time_of_the_last_change_is_a_version_too(publisher: Publisher, tmp_path: Path) -> None:
    download = download_of(publisher)
    page = publisher.pages["/small.zip"]
    page.etag, page.modified, page.cuts = "", "Wed, 26 Sep 2018 12:00:00 GMT", [200_000]
    get(tmp_path, download)
    assert publisher.log[1][1].startswith("bytes=")
    assert sum(publisher.sent("/small.zip")) < 2 * len(ZIP)


def test_a_file_that_changed_meanwhile_is_downloaded_from_the_start(publisher: Publisher, tmp_path: Path) -> None:
    newer = zip_of(small__ratings=NOISE[::-1], small__movies=b"newer")
    download = download_of(publisher, newer)
    publisher.pages["/small.zip"] = Page(ZIP, cuts=[200_000, 0, 0, 0])
    assert "manual steps" in message(tmp_path, download)
    assert "small.zip.part" in names(tmp_path)
    publisher.pages["/small.zip"] = Page(newer, etag='"two"')
    get(tmp_path, download)
    assert publisher.sent("/small.zip")[-1] == len(newer)
    assert (tmp_path / "ratings.csv").read_bytes() == NOISE[::-1]


def test_the_rest_of_another_version_is_not_joined(publisher: Publisher, tmp_path: Path) -> None:
    newer = zip_of(small__ratings=NOISE[::-1], small__movies=b"newer")
    download = download_of(publisher, newer)
    publisher.pages["/small.zip"] = Page(ZIP, cuts=[200_000, 0, 0, 0])
    message(tmp_path, download)
    publisher.pages["/small.zip"] = Page(newer, etag='"two"', asks_version=False)
    get(tmp_path, download)
    assert [asked for _, asked, _ in publisher.log[-2:]] == ["bytes=200000-", ""]
    assert (tmp_path / "ratings.csv").read_bytes() == NOISE[::-1]


def test_a_mixture_of_two_versions_is_found_and_removed(publisher: Publisher, tmp_path: Path) -> None:
    download = download_of(publisher)
    (tmp_path / "small.zip.part").write_bytes(b"PK" + bytes(998))
    note = {"url": download.url, "version": '"one"', "total": len(ZIP)}
    (tmp_path / "small.zip.part.note").write_text(json.dumps(note))
    assert "has the md5" in message(tmp_path, download)
    assert names(tmp_path) == []
    get(tmp_path, download)
    assert (tmp_path / "ratings.csv").read_bytes() == NOISE


def test_a_part_longer_than_the_file_is_downloaded_from_the_start(publisher: Publisher, tmp_path: Path) -> None:
    download = download_of(publisher)
    publisher.pages["/small.zip"].statuses = [416]
    (tmp_path / "small.zip.part").write_bytes(ZIP + ZIP)
    note = {"url": download.url, "version": '"one"', "total": None}
    (tmp_path / "small.zip.part.note").write_text(json.dumps(note))
    get(tmp_path, download)
    assert [asked for _, asked, _ in publisher.log] == [f"bytes={2 * len(ZIP)}-", ""]


def test_a_busy_server_is_tried_again(publisher: Publisher, tmp_path: Path) -> None:
    download, reports = download_of(publisher), list[str]()
    publisher.pages["/small.zip"].statuses = [503, 429]
    get(tmp_path, download, reports=reports)
    assert "answered 503 Service Unavailable; trying again in 0.01 s" in reports[1]
    assert "answered 429 Too Many Requests; trying again in 0.02 s" in reports[2]


def test_a_server_that_stays_busy_is_an_error_with_manual_steps(publisher: Publisher, tmp_path: Path) -> None:
    download = download_of(publisher)
    publisher.pages["/small.zip"].statuses = [503] * 3
    reported = message(tmp_path, download)
    assert "503" in reported
    assert "manual steps: download" in reported


@pytest.mark.parametrize(("status", "word"), [(404, "404 Not Found"), (403, "it requires a login")])
def test_a_refused_request_is_not_repeated(publisher: Publisher, tmp_path: Path, status: int, word: str) -> None:
    download = download_of(publisher)
    publisher.pages["/small.zip"].statuses = [status]
    assert word in message(tmp_path, download)
    assert len(publisher.log) == 1


def test_no_server_is_an_error_with_manual_steps(publisher: Publisher, tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound but not listening: refused
        url = f"http://127.0.0.1:{held.getsockname()[1]}/small.zip"
        reported = message(tmp_path, replace(download_of(publisher), url=url))
    assert "refused" in reported
    assert f"download {url} as {tmp_path}/small.zip (or unpack ratings.csv, movies.csv into {tmp_path}" in reported
    assert f"tradewind data fetch movielens --variant ml-latest-small --to {tmp_path} unpacks it" in reported
    assert reported.endswith(f"; then tradewind data describe movielens --source {tmp_path}")
    assert names(tmp_path) == []


def test_a_manually_downloaded_zip_is_unpacked_without_a_network(publisher: Publisher, tmp_path: Path) -> None:
    download = download_of(publisher)
    (tmp_path / "small.zip").write_bytes(ZIP)
    assert get(tmp_path, download).done == "fetched"
    assert publisher.log == []
    assert names(tmp_path) == [".fetched", "movies.csv", "ratings.csv", "small.zip"]


def test_a_damaged_manually_downloaded_zip_is_an_error_and_is_kept(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "small.zip").write_bytes(ZIP[:-1] + b"x")
    assert "the md5" in message(tmp_path, download_of(publisher))
    assert names(tmp_path) == ["small.zip"]


def test_manually_downloaded_files_are_not_changed(publisher: Publisher, tmp_path: Path) -> None:
    reports = list[str]()
    for name in ("ratings.csv", "movies.csv"):
        (tmp_path / name).write_text("mine")
    assert get(tmp_path, download_of(publisher), reports=reports).done == "already there"
    assert "have another origin" in reports[0]
    assert (tmp_path / "ratings.csv").read_text() == "mine"


def test_files_of_another_source_are_not_overwritten(publisher: Publisher, tmp_path: Path) -> None:
    get(tmp_path, download_of(publisher))
    other = replace(download_of(publisher), url=f"{publisher.url}/large.zip", variant="ml-25m")
    assert "choose another folder with --to" in message(tmp_path, other)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "ratings.csv").write_text("mine")
    assert "has ratings.csv of another origin" in message(tmp_path / "other", download_of(publisher))
    assert (tmp_path / "other" / "ratings.csv").read_text() == "mine"


def test_a_wrong_checksum_leaves_nothing(publisher: Publisher, tmp_path: Path) -> None:
    reported = message(tmp_path, download_of(publisher, checksum="sha256:" + "0" * 64))
    assert f"has the sha256 {hashlib.sha256(ZIP).hexdigest()}; expected 000" in reported
    assert names(tmp_path) == []


def test_a_wrong_size_leaves_nothing(publisher: Publisher, tmp_path: Path) -> None:
    assert f"has {len(ZIP)} bytes; expected 3" in message(tmp_path, download_of(publisher, n_bytes=3))
    assert names(tmp_path) == []


@pytest.mark.parametrize("text", ["MD5 (small.zip) = {}\n", "{}  small.zip\n"])
def test_the_publishers_md5_file_is_used(publisher: Publisher, tmp_path: Path, text: str) -> None:
    download = download_of(publisher, checksum="", checksum_url=f"{publisher.url}/small.zip.md5")
    publisher.pages["/small.zip.md5"] = Page(text.format("0" * 32).encode())
    assert "expected " + "0" * 32 in message(tmp_path, download)
    publisher.pages["/small.zip.md5"] = Page(text.format(hashlib.md5(ZIP).hexdigest()).encode())
    assert get(tmp_path, download).done == "fetched"


def test_without_a_published_checksum_the_crcs_are_checked_and_reported(publisher: Publisher, tmp_path: Path) -> None:
    reports = list[str]()
    download = download_of(publisher, checksum="", checksum_url=f"{publisher.url}/gone.md5")
    get(tmp_path, download, reports=reports)
    assert "404" in reports[1]
    assert "no checksum is published" in reports[2]
    damaged = bytearray(ZIP)
    damaged[200_000] ^= 1
    publisher.pages["/small.zip"] = Page(bytes(damaged))
    (tmp_path / "ratings.csv").unlink()
    assert "damaged or truncated zip" in message(tmp_path, replace(download, checksum_url=""))
    assert names(tmp_path) == [".fetched", "movies.csv"]


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/zip"])
def test_a_login_page_is_not_accepted_as_the_file(publisher: Publisher, tmp_path: Path, kind: str) -> None:
    publisher.pages["/small.zip"] = Page(b"\n<!doctype html><title>Sign in</title>", type=kind)
    reported = message(tmp_path, download_of(publisher))
    assert "a web page (a login or an error), not with small.zip" in reported
    assert "manual steps" in reported
    assert names(tmp_path) == []


def test_a_file_that_is_not_a_zip_is_recognised_from_its_first_bytes(publisher: Publisher, tmp_path: Path) -> None:
    publisher.pages["/small.zip"] = Page(b"Rar!" + NOISE)
    assert "is not a .zip file: it begins with b'Rar!" in message(tmp_path, download_of(publisher))
    assert names(tmp_path) == []


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "C:\\evil", "small/../../evil"])
def test_a_zip_with_a_path_outside_the_folder_is_an_error(publisher: Publisher, tmp_path: Path, path: str) -> None:
    body = zip_of(**{"small__ratings": b"1", "small__movies": b"2", path: b"evil"})
    reported = message(tmp_path / "folder", download_of(publisher, body))
    assert "a path outside the folder" in reported
    assert names(tmp_path / "folder") == []
    assert names(tmp_path) == ["folder"]


def test_a_declared_file_outside_the_folder_is_an_error(publisher: Publisher, tmp_path: Path) -> None:
    members = (Member("small/ratings.csv", "../ratings.csv"),)
    assert "would be outside" in message(tmp_path / "folder", download_of(publisher, members=members))
    assert names(tmp_path) == ["folder"]


def test_a_zip_that_lacks_a_member_is_not_unpacked(publisher: Publisher, tmp_path: Path) -> None:
    reported = message(tmp_path, download_of(publisher, zip_of(small__ratings=b"1")))
    assert "lacks small/movies.csv; got small/ratings.csv" in reported
    assert names(tmp_path) == []


def test_a_truncated_gzip_is_an_error_and_a_complete_one_stays_compressed(publisher: Publisher, tmp_path: Path) -> None:
    download = reviews_of(publisher, gzip.compress(NOISE)[:-9])
    assert "damaged or truncated gzip" in message(tmp_path, download)
    assert names(tmp_path) == []
    get(tmp_path, reviews_of(publisher))
    assert gzip.decompress((tmp_path / "reviews.json.gz").read_bytes()) == NOISE
    assert names(tmp_path) == [".fetched", "reviews.json.gz"]


def test_a_gzip_that_changed_is_not_downloaded_again_without_consent(publisher: Publisher, tmp_path: Path) -> None:
    download = reviews_of(publisher)
    get(tmp_path, download)
    (tmp_path / "reviews.json.gz").write_bytes(b"changed")
    with pytest.raises(DataError, match="not agreed to"):
        fetch("amazon", "", tmp_path, lambda _: False, print, [download], QUICK)
    assert len(publisher.log) == 1
    assert get(tmp_path, download).done == "fetched"
    assert gzip.decompress((tmp_path / "reviews.json.gz").read_bytes()) == NOISE


def test_a_manually_downloaded_gzip_is_kept(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "reviews.json.gz").write_bytes(b"mine")
    assert get(tmp_path, reviews_of(publisher)).done == "already there"
    assert (tmp_path / "reviews.json.gz").read_bytes() == b"mine"
    assert publisher.log == []


def test_of_two_files_the_downloaded_one_is_kept(publisher: Publisher, tmp_path: Path) -> None:
    reviews = reviews_of(publisher)
    products = replace(reviews, url=f"{publisher.url}/meta.json.gz", file="meta.json.gz")
    reported = message(tmp_path, reviews, products)
    assert (
        f"manual steps: download {products.url} as {tmp_path}/meta.json.gz; then tradewind data describe amazon"
        in reported
    )
    publisher.pages["/meta.json.gz"] = Page(gzip.compress(b"{}"))
    assert get(tmp_path, reviews, products).done == "fetched"
    assert len(publisher.sent("/reviews.json.gz")) == 1


def test_a_file_larger_than_the_disk_is_not_downloaded(publisher: Publisher, tmp_path: Path) -> None:
    download = download_of(publisher, n_bytes=None)
    publisher.pages["/small.zip"].length = 10**18
    reported = message(tmp_path, download)
    assert "small.zip needs 1,000,000,000,000 MB" in reported
    assert "free some space" in reported
    assert "ratings.csv" not in names(tmp_path)


def test_terms_are_shown_first_and_without_consent_nothing_is_downloaded(publisher: Publisher, tmp_path: Path) -> None:
    reports, asked = list[str](), list[str]()

    def no(question: str) -> bool:
        assert "GroupLens terms" in reports[0]
        asked.append(question)
        return False

    with pytest.raises(DataError, match="not agreed to, so nothing was downloaded"):
        fetch("movielens", "", tmp_path, no, reports.append, [download_of(publisher)], QUICK)
    assert asked == ["Do you agree, and shall small.zip (0.4 MB) be downloaded from 127.0.0.1?"]
    assert publisher.log == []


def test_consent_needs_a_terminal_or_yes() -> None:
    assert consent(True, False, lambda _: pytest.fail("asked"))("?")
    assert not consent(False, True, lambda _: False)("?")
    with pytest.raises(ConfigurationError, match="no terminal to ask on; read them above and pass --yes"):
        consent(False, False, lambda _: pytest.fail("asked"))("?")


SCRIPT = """
    import sys
    from pathlib import Path
    from recommenders.datasets.downloads.publications import Download, Member
    from recommenders.datasets.downloads.fetch import fetch
    members = (Member("small/ratings.csv", "ratings.csv"), Member("small/movies.csv", "movies.csv"))
    plan = [Download("movielens", "ml-latest-small", sys.argv[1], "small.zip", members=members)]
    fetch("movielens", "", Path(sys.argv[2]), lambda _: True, lambda line: None, plan)
"""


def start(publisher: Publisher, folder: Path, **streams: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), f"{publisher.url}/small.zip", str(folder)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[4], **streams)


def test_ctrl_c_leaves_a_part_that_resumes(publisher: Publisher, tmp_path: Path) -> None:
    download = download_of(publisher)
    publisher.pages["/small.zip"].pause = 0.2
    process = start(publisher, tmp_path, stderr=subprocess.PIPE)
    part = tmp_path / "small.zip.part"
    for _ in range(600):
        if part.is_file() and part.stat().st_size >= 50_000:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode != 0
    assert b"KeyboardInterrupt" in errors
    had = part.stat().st_size
    assert 50_000 <= had < len(ZIP)
    publisher.pages["/small.zip"].pause = 0
    get(tmp_path, download)
    assert publisher.log[-1] == ("/small.zip", f"bytes={had}-", len(ZIP) - had)
    assert (tmp_path / "ratings.csv").read_bytes() == NOISE


def test_a_complete_part_of_an_interrupted_call_is_only_checked(publisher: Publisher, tmp_path: Path) -> None:
    download = download_of(publisher)
    (tmp_path / "small.zip.part").write_bytes(ZIP)
    note = {"url": download.url, "version": '"one"', "total": len(ZIP)}
    (tmp_path / "small.zip.part.note").write_text(json.dumps(note))
    get(tmp_path, download)
    assert publisher.log == []
    assert names(tmp_path) == [".fetched", "movies.csv", "ratings.csv"]


def everything(terminal: int) -> str:
    """The output to a terminal until its other end is closed, which Linux reports as an error."""
    shown = b""
    with suppress(OSError):
        while block := os.read(terminal, 65_536):
            shown += block
    os.close(terminal)
    return shown.decode()


def test_the_bar_is_drawn_on_a_terminal_only(publisher: Publisher, tmp_path: Path) -> None:
    download_of(publisher)
    publisher.pages["/small.zip"].pause = 0.02
    parent_end, child_end = pty.openpty()
    process = start(publisher, tmp_path / "a", stderr=child_end, env=os.environ | {"TERM": "xterm", "COLUMNS": "100"})
    os.close(child_end)
    shown = everything(parent_end)
    assert process.wait(timeout=60) == 0
    assert "small.zip" in shown
    assert "MB/s" in shown or "kB/s" in shown
    piped = start(publisher, tmp_path / "b", stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    assert piped.communicate(timeout=60) == (b"", b"")


def test_fetch_all_continues_after_a_failure(publisher: Publisher, tmp_path: Path) -> None:
    reports = list[str]()
    plans = {
        "custom_b2b": downloads("custom_b2b"),
        "retailrocket": downloads("retailrocket"),
        "movielens": [download_of(publisher, checksum="md5:0")],
        "amazon": [reviews_of(publisher)],
    }
    outcomes = fetch_all(tmp_path, lambda _: True, reports.append, plans, QUICK)
    assert [o.done for o in outcomes] == ["made here", "failed", "failed", "fetched"]
    assert "Kaggle requires a login" in outcomes[1].error
    assert outcomes[3].folder == str(tmp_path / "amazon" / "2018-5core-Industrial_and_Scientific")
    assert outcomes[1].error in reports


def test_retailrocket_lists_the_manual_steps_and_unpacks_the_zip(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fetch("retailrocket", "", tmp_path, lambda _: pytest.fail("asked"), print)
    files = "events.csv, item_properties_part1.csv, item_properties_part2.csv, category_tree.csv"
    assert f"(or unpack {files} into {tmp_path} yourself)" in str(caught.value)
    assert f"download https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset as {tmp_path}/archive.zip" in str(
        caught.value
    )
    every = {file.removesuffix(".csv"): b"1" for file in files.split(", ")}
    (tmp_path / "archive.zip").write_bytes(zip_of(**every))
    assert fetch("retailrocket", "", tmp_path, lambda _: pytest.fail("asked"), print).done == "fetched"
    assert (tmp_path / "category_tree.csv").read_bytes() == b"1"


def test_the_workbook_of_online_retail_becomes_its_csv(publisher: Publisher, tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl makes the workbook of this test")
    book, held = openpyxl.Workbook(), io.BytesIO()
    book.active.append(COLUMNS)
    book.active.append((536365, "85123A", "HOLDER", 6, datetime(2010, 12, 1, 8, 26), 2.55, 17850, "France"))
    book.save(held)
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("Online Retail.xlsx", held.getvalue())
    publisher.pages["/online+retail.zip"] = Page(body.getvalue())
    (declared,) = downloads("online_retail")
    download = replace(declared, url=f"{publisher.url}/online+retail.zip", checksum="", n_bytes=None)
    assert get(tmp_path, download).files == ("online_retail.csv",)
    assert names(tmp_path) == [".fetched", "online_retail.csv"]
    assert DATASETS["online_retail"].read(tmp_path).counts.kept == 1


def test_custom_b2b_has_nothing_to_fetch(tmp_path: Path) -> None:
    reports = list[str]()
    assert fetch("custom_b2b", "", tmp_path, lambda _: pytest.fail("asked"), reports.append).done == "made here"
    assert "made by this project: nothing to download" in reports[0]


def test_unknown_names_are_errors_with_the_known_names(tmp_path: Path) -> None:
    def reported(name: str, variant: str = "") -> str:
        with pytest.raises(ConfigurationError) as caught:
            fetch(name, variant, tmp_path, lambda _: pytest.fail("asked"), print)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "choose from amazon, custom_b2b, movielens" in reported("movielense")
    assert "choose from ml-100k, ml-1m, ml-25m, ml-latest-small" in reported("movielens", "ml-2m")
    assert "expected EDITION:CATEGORY such as 2018-5core:All_Beauty" in reported("amazon", "All_Beauty")
    assert "choose from 2014, 2014-5core, 2018, 2018-5core, 2023" in reported("amazon", "2019:Books")
    assert "AMAZON_FASHION" in reported("amazon", "2018:Baby")
    with pytest.raises(UnknownNameError, match="leave --variant out"):
        downloads("custom_b2b", "large")


@pytest.mark.parametrize("name", PUBLICATIONS)
def test_every_declared_variant_can_be_planned(name: str) -> None:
    for variant in variants(name):
        plan = downloads(name, variant)
        assert plan
        for download in plan:
            assert download.dataset == name
            assert download.variant == variant
            assert download.url.startswith("https://")
            assert "{" not in download.url
            kind, _, digest = download.checksum.partition(":")
            assert len(digest) == {"md5": 32, "sha256": 64, "": 0}[kind]


def test_the_amazon_editions_have_the_published_categories() -> None:
    counts = {name: sum(v.startswith(f"{name}:") for v in variants("amazon")) for name in ("2014", "2018", "2023")}
    assert counts == {"2014": 24, "2018": 29, "2023": 34}
    reviews, products = downloads("amazon", "2018-5core:All_Beauty")
    assert reviews.url.endswith("/data/amazon_v2/categoryFilesSmall/All_Beauty_5.json.gz")
    assert products.url.endswith("/data/amazon_v2/metaFiles2/meta_All_Beauty.json.gz")


def test_a_folder_below_the_root_for_every_variant(tmp_path: Path) -> None:
    assert folder_of(tmp_path, "online_retail", "") == tmp_path / "online_retail"
    assert folder_of(tmp_path, "movielens", "") == tmp_path / "movielens" / "ml-latest-small"
    assert folder_of(tmp_path, "amazon", "2014:Baby") == tmp_path / "amazon" / "2014-Baby"
