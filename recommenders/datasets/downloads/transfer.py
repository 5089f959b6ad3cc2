"""One file over HTTP: it goes on where it was cut, and begins anew where the publisher changed it meanwhile.

Beside the file lie NAME.part, the bytes had so far, and NAME.part.note, which says of what they are a part.
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

# The first bytes of what a name claims to be; a login page has others.
MAGIC = {".zip": b"PK", ".gz": b"\x1f\x8b"}
RETRIED = {408, 425, 429}
# What is asked for is the file as it lies there: a server that packs it on the way would break sizes and checksums.
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "tradewind"}


class TransferError(DataError):
    """The publisher did not give the file; fetch.py adds how to get it by hand."""


class NoRoomError(DataError):
    """The disk is too small. What was downloaded stays, for when there is room."""


class _AgainError(Exception):
    """An attempt failed in a way in which the next may not."""


@dataclass(frozen=True)
class Patience:
    """How long a publisher is waited for."""

    attempts: int = 4  # in a row without a byte more than before
    wait: float = 1.0  # seconds before the second attempt; each later one waits twice as long
    timeout: float = 30.0  # seconds of silence that end an attempt


@dataclass(frozen=True)
class Part:
    """The bytes had so far of the file `target`."""

    target: Path

    @property
    def path(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.note")

    def size(self) -> int:
        """Bytes had so far; 0 if there are none."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def forget(self) -> None:
        """Removes it, so that the next attempt begins anew."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def is_whole(self, url: str) -> bool:
        """Whether an earlier call was ended between the last byte and its check."""
        total = self._of(url).get("total")
        return total is not None and total == self.size()

    def range(self, url: str) -> dict[str, str]:
        """The headers that ask only for the rest, if the file is still the same; none where that cannot be told."""
        version = self._of(url).get("version")
        return {"Range": f"bytes={self.size()}-", "If-Range": version} if version and self.size() else {}

    def begin(self, url: str, response: httpx.Response) -> tuple[int, int | None]:
        """(bytes to keep, bytes of the whole or None): the rest if that is what came, else all from the start."""
        version = _version(response)
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            start, total = _content_range(response)
            if start != self.size() or version not in ("", self._of(url).get("version")):
                self.forget()
                raise _AgainError("answered with another part than was asked for")
            return start, total
        length = response.headers.get("Content-Length")
        total = int(length) if length else None
        self.forget()
        self.note.write_text(json.dumps({"url": url, "version": version, "total": total}))
        return 0, total

    def _of(self, url: str) -> dict[str, Any]:
        """The note, if it is about this address."""
        try:
            note: dict[str, Any] = json.loads(self.note.read_text())
        except (FileNotFoundError, json.JSONDecodeError):  # cut off while it was written: begin anew
            return {}
        return note if note.get("url") == url else {}


def transfer(url: str, target: Path, report: Callable[[str], None], patience: Patience) -> Part:
    """Downloads `url` into the .part of `target`, whole as far as HTTP can tell; the caller checks and renames it.

    A bar is drawn on standard error if that is a terminal. Raises TransferError if the publisher cannot be reached or
    answers with something else, NoRoomError if the file does not fit on the disk.
    """
    part = Part(target)
    with httpx.Client(timeout=patience.timeout, follow_redirects=True, headers=HEADERS) as client, _bar() as bar:
        longest, left = part.size(), patience.attempts
        while not part.is_whole(url):
            try:
                _attempt(client, url, part, bar)
                break
            except (httpx.TransportError, _AgainError) as error:
                left = patience.attempts if part.size() > longest else left - 1
                longest = max(longest, part.size())
                if left == 0:
                    raise TransferError(f"{url}: {reason(error)}") from error
                pause = patience.wait * 2 ** max(0, patience.attempts - left - 1)
                report(f"{httpx.URL(url).host}: {reason(error)}; trying again in {pause:g} s")
                time.sleep(pause)
            except TransferError:
                if part.size() == 0:
                    part.forget()
                raise
            except httpx.HTTPError as error:
                raise TransferError(f"{url}: {reason(error)}") from error
    return part


def reason(error: Exception) -> str:
    """What an error says, in one line; its name if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def need_room(folder: Path, n_bytes: int, what: str) -> None:
    """Raises NoRoomError unless the folder's disk has that many bytes free."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        need = f"{what} needs {n_bytes / 1e6:,.0f} MB, {folder} has {free / 1e6:,.0f} MB free"
        raise NoRoomError(f"{need}; make room, or choose a folder on another disk with --to")


def _attempt(client: httpx.Client, url: str, part: Part, bar: Progress) -> None:
    with client.stream("GET", url, headers=part.range(url)) as response:
        _refuse(response, url, part)
        offset, total = part.begin(url, response)
        need_room(part.path.parent, (total or 0) - offset, part.target.name)
        task = bar.add_task(part.target.name, total=total, completed=offset)
        try:
            with part.path.open("ab") as file:
                for chunk in response.iter_raw():
                    if file.tell() == 0:
                        _refuse_start(chunk, url, part)
                    file.write(chunk)
                    bar.advance(task, len(chunk))
        finally:
            bar.remove_task(task)
    if total is not None and part.size() != total:
        raise _AgainError(f"sent {part.size()} of {total} bytes")


def _refuse(response: httpx.Response, url: str, part: Part) -> None:
    status = f"answered {response.status_code} {response.reason_phrase}".strip()
    if response.is_server_error or response.status_code in RETRIED:
        raise _AgainError(status)
    if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:  # longer than the file now is
        part.forget()
        raise _AgainError(status)
    if not response.is_success:
        login = " (it wants a login)" if response.status_code in (401, 403) else ""
        raise TransferError(f"{url} {status}{login}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise TransferError(_page(url, part))


def _refuse_start(chunk: bytes, url: str, part: Part) -> None:
    magic = MAGIC.get(part.target.suffix, b"")
    if chunk.startswith(magic) and not (magic == b"" and chunk.lstrip().startswith(b"<")):
        return
    if chunk.lstrip().startswith(b"<"):
        raise TransferError(_page(url, part))
    raise TransferError(f"{url} is no {part.target.suffix} file: it begins with {chunk[:8]!r}")


def _page(url: str, part: Part) -> str:
    return f"{url} answered with a web page (a login or an error), not with {part.target.name}"


def _version(response: httpx.Response) -> str:
    """What If-Range may name: a strong ETag, else the time of the last change; empty if there is neither."""
    tag = str(response.headers.get("ETag", ""))
    strong = tag if tag.startswith('"') else ""
    return strong or str(response.headers.get("Last-Modified", ""))


def _content_range(response: httpx.Response) -> tuple[int, int | None]:
    """(first byte, bytes of the whole or None); a first byte of -1 where the header cannot be read."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None:
        return -1, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty())
