"""Downloads one file over HTTP: resumes a cut download, and starts again if the publisher changed the file meanwhile.

Beside the file are NAME.part, the bytes received so far, and NAME.part.note, their URL, version and total size.
"""

import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from recommenders.errors import DataError

# The first bytes of a file with that suffix; a login page begins differently.
MAGIC = {".zip": b"PK", ".gz": b"\x1f\x8b"}
RETRIED = {408, 425, 429}
# Requests the file without content encoding: compression by the server would change sizes and checksums.
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "tradewind"}


class TransferError(DataError):
    """The publisher did not send the file; fetch.py adds the manual steps."""


class NoRoomError(DataError):
    """The disk has too little space. The downloaded bytes are kept until there is space."""


class _RetryError(Exception):
    """An attempt failed, but another one may succeed."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long a download is tried."""

    attempts: int = 4  # most attempts in a row without a new byte
    wait: float = 1.0  # seconds before the second attempt; doubles with each further attempt
    timeout: float = 30.0  # seconds without data after which an attempt ends


@dataclass(frozen=True)
class Part:
    """The bytes received so far of the file `target`."""

    target: Path

    @property
    def path(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.note")

    def size(self) -> int:
        """The number of bytes received so far; 0 if there are none."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def discard(self) -> None:
        """Removes the bytes and the note, so that the next attempt starts from the beginning."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def is_whole(self, url: str) -> bool:
        """Whether all bytes are there, because an earlier call ended after the last byte and before the check."""
        total = self._of(url).get("total")
        return total is not None and total == self.size()

    def range(self, url: str) -> dict[str, str]:
        """Headers that request only the rest if the file is unchanged; empty if the version is not known."""
        version = self._of(url).get("version")
        return {"Range": f"bytes={self.size()}-", "If-Range": version} if version and self.size() else {}

    def begin(self, url: str, response: httpx.Response) -> tuple[int, int | None]:
        """(bytes to keep, total bytes or None): keeps the bytes if the response is the rest, else starts from 0."""
        version = _version(response)
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            start, total = _content_range(response)
            if start != self.size() or version not in ("", self._of(url).get("version")):
                self.discard()
                raise _RetryError("answered with another part than requested")
            return start, total
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        self.discard()
        self.note.write_text(json.dumps({"url": url, "version": version, "total": total}))
        return 0, total

    def _of(self, url: str) -> dict[str, Any]:
        """The note, if it is for this URL; else empty."""
        try:
            note: dict[str, Any] = json.loads(self.note.read_text())
        except (FileNotFoundError, json.JSONDecodeError):  # interrupted while it was written: start from the beginning
            return {}
        return note if note.get("url") == url else {}


def transfer(url: str, target: Path, report: Callable[[str], None], retry: RetryPolicy) -> Part:
    """Downloads `url` into the .part file of `target`, complete by its HTTP length; the caller checks and renames it.

    Draws a progress bar on standard error if that is a terminal. Raises TransferError if the publisher cannot be
    reached or sends something else, NoRoomError if the file does not fit on the disk.
    """
    part = Part(target)
    with httpx.Client(timeout=retry.timeout, follow_redirects=True, headers=HEADERS) as client, _bar() as bar:
        longest, left = part.size(), retry.attempts
        while not part.is_whole(url):
            try:
                _attempt(client, url, part, bar)
                break
            except (httpx.TransportError, _RetryError) as error:
                left = retry.attempts if part.size() > longest else left - 1
                longest = max(longest, part.size())
                if left == 0:
                    raise TransferError(f"{url}: {reason(error)}") from error
                pause = retry.wait * 2 ** max(0, retry.attempts - left - 1)
                report(f"{httpx.URL(url).host}: {reason(error)}; trying again in {pause:g} s")
                time.sleep(pause)
            except TransferError:
                if part.size() == 0:
                    part.discard()
                raise
            except httpx.HTTPError as error:
                raise TransferError(f"{url}: {reason(error)}") from error
    return part


def reason(error: Exception) -> str:
    """The message of an error in one line; its class name if the message is empty."""
    return " ".join(str(error).split()) or type(error).__name__


def need_room(folder: Path, n_bytes: int, what: str) -> None:
    """Raises NoRoomError unless the folder's disk has that many bytes free."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        need = f"{what} needs {n_bytes / 1e6:,.0f} MB, {folder} has {free / 1e6:,.0f} MB free"
        raise NoRoomError(f"{need}; free some space, or choose a folder on another disk with --to")


def _attempt(client: httpx.Client, url: str, part: Part, bar: Progress) -> None:
    with client.stream("GET", url, headers=part.range(url)) as response:
        _check_response(response, url, part)
        offset, total = part.begin(url, response)
        need_room(part.path.parent, (total or 0) - offset, part.target.name)
        task = bar.add_task(part.target.name, total=total, completed=offset)
        try:
            with part.path.open("ab") as file:
                for chunk in response.iter_raw():
                    if file.tell() == 0:
                        _check_first_bytes(chunk, url, part)
                    file.write(chunk)
                    bar.advance(task, len(chunk))
        finally:
            bar.remove_task(task)
    if total is not None and part.size() != total:
        raise _RetryError(f"sent {part.size()} of {total} bytes")


def _check_response(response: httpx.Response, url: str, part: Part) -> None:
    status = f"answered {response.status_code} {response.reason_phrase}".strip()
    if response.is_server_error or response.status_code in RETRIED:
        raise _RetryError(status)
    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:  # the part is longer than the file is now
        part.discard()
        raise _RetryError(status)
    if not response.is_success:
        login = " (it requires a login)" if response.status_code in (401, 403) else ""
        raise TransferError(f"{url} {status}{login}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise TransferError(_web_page_error(url, part))


def _check_first_bytes(chunk: bytes, url: str, part: Part) -> None:
    magic = MAGIC.get(part.target.suffix, b"")
    if chunk.startswith(magic) and not (magic == b"" and chunk.lstrip().startswith(b"<")):
        return
    if chunk.lstrip().startswith(b"<"):
        raise TransferError(_web_page_error(url, part))
    raise TransferError(f"{url} is not a {part.target.suffix} file: it begins with {chunk[:8]!r}")


def _web_page_error(url: str, part: Part) -> str:
    return f"{url} answered with a web page (a login or an error), not with {part.target.name}"


def _version(response: httpx.Response) -> str:
    """The version for If-Range: a strong ETag, else the time of the last change; empty if there is neither."""
    tag = str(response.headers.get("ETag", ""))
    strong = tag if tag.startswith('"') else ""
    return strong or str(response.headers.get("Last-Modified", ""))


def _content_range(response: httpx.Response) -> tuple[int, int | None]:
    """(first byte, total bytes or None); the first byte is -1 if the header cannot be parsed."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None:
        return -1, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty())
