"""Checks and normalises text files before they are read: complete, UTF-8, one row per line.

DuckDB's reader accepts a truncated gzip file and stops at a byte that is not text. So each file is scanned once, in
blocks, before it is read. A file that is not plain UTF-8 with one kind of line end is copied; its bad lines are escaped
and recorded. DuckDB can then split the file into lines in parallel, and every line keeps its number. Records of several
lines (RFC 4180: a line end between quotation marks) are joined first; see joining.py.
"""

import codecs
import gzip
import json
import zlib
from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recommenders.datasets.reading.joining import Lines, fields, has_open_lines, join_records
from recommenders.errors import DataError

BLOCK = 1 << 24  # bytes in memory at once
MAX_BAD_LINES = 0.1  # largest share of lines that are not text; beyond it the file has another encoding
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass
class TextFile:
    """A file that is ready to be read: `path` is the file itself, or a copy of it in plain UTF-8."""

    name: str  # the file's name in the source
    path: Path
    header: list[str]  # empty if the file has none
    n_lines: int = 0  # lines, including the header and blank lines
    n_blank: int = 0
    newline: str = "\\n"
    has_quotes: bool = False
    has_spaces: bool = False
    has_joined: bool = False  # some record had several lines; LINE_END_MARK replaces the line ends inside it
    bad_lines: dict[int, str] = field(default_factory=dict)  # line -> why it is not text

    @property
    def n_rows(self) -> int:
        """Lines that are neither blank nor the header."""
        return self.n_lines - self.n_blank - bool(self.header)


def prepare(
    path: Path,
    dataset: str,
    work: Path,
    columns: Sequence[str] = (),
    delimiter: str = ",",
    header: bool = True,
    encoding: str = "utf-8",
    zipped: bool = False,
    may_lack: Container[str] = (),
    origin: Path | None = None,
) -> TextFile:
    """The file, checked and counted. work: a folder for copies; zipped: the reader unzips, so gzip alone needs no copy.

    columns: the columns to read from a CSV file; without a header, all columns; if empty, each line is one row.
    may_lack: the columns that the header need not have. origin: the file that this one was made of, for messages about
    the header. Raises DataError, in one line, if the file is empty, damaged, a web page, in another encoding, or lacks
    a column.
    """
    first = _first_bytes(path, dataset)
    _check_kind(first, path, dataset)
    plain = (zipped or not path.name.endswith(".gz")) and encoding == "utf-8"
    found = TextFile(path.name, path, [])
    if not plain or not _scan(found, _blocks(path, dataset)):
        copy = work / f"{len(list(work.iterdir()))}-{path.name.removesuffix('.gz')}"
        found = TextFile(path.name, copy, [])
        _copy_as_utf8(found, _blocks(path, dataset), encoding)
        _scan(found, _blocks(copy, dataset))
    if len(found.bad_lines) > MAX_BAD_LINES * found.n_lines:
        line, reason = next(iter(found.bad_lines.items()))
        raise DataError(
            f"{dataset}: {path} is not {encoding.upper()} text: {len(found.bad_lines)} of {found.n_lines} lines, "
            f"the first is line {line} ({reason}); save it as {encoding.upper()}"
        )
    if columns and found.has_quotes and has_open_lines(_blocks(found.path, dataset)):
        _join(found, dataset, work, len(columns), delimiter, header)
    if header:
        found.header = _header(found.path, origin or path, dataset, columns, delimiter, may_lack)
    return found


def is_blank(path: Path) -> bool:
    """Whether a file has only blank lines; gzip is unzipped first. A damaged file is not blank."""
    try:
        return not any(block.lstrip(codecs.BOM_UTF8).strip() for block in _blocks(path, "", 1 << 16))
    except DataError:
        return False


def keys_present(path: Path, dataset: str, keys: Collection[str]) -> list[str]:
    """The keys that occur anywhere in a file of JSON objects, sorted."""
    written = {key: {json.dumps(key).encode(), json.dumps(key, ensure_ascii=False).encode()} for key in keys}
    longest = max(len(text) for texts in written.values() for text in texts)
    found: set[str] = set()
    last = b""
    for block in _blocks(path, dataset):
        block = last + block  # a key may be split between two blocks
        found |= {key for key in written.keys() - found if any(text in block for text in written[key])}
        if len(found) == len(written):
            break
        last = block[-longest:]
    return sorted(found)


def _first_bytes(path: Path, dataset: str) -> bytes:
    for block in _blocks(path, dataset, 1 << 16):
        return block
    raise DataError(f"{dataset}: {path} is empty; expected rows of text; download it again")


def _check_kind(first: bytes, path: Path, dataset: str) -> None:
    if first.startswith(UTF16):
        raise DataError(f"{dataset}: {path} is not UTF-8 text: it begins like UTF-16; convert it to UTF-8")
    if first.lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:1] == b"<":
        raise DataError(f"{dataset}: {path} is a web page, not the data; download the file itself")
    if not first.strip():
        raise DataError(f"{dataset}: {path} is empty; expected rows of text; download it again")
    if first[:4] == b"PK\x03\x04" or first[:4] == b"PAR1":
        raise DataError(f"{dataset}: {path} is not text but a zip, workbook or Parquet file; unpack or convert it")


def _blocks(path: Path, dataset: str, size: int = BLOCK) -> Iterator[bytes]:
    """The file's bytes, unzipped, in blocks."""
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            while block := file.read(size):
                yield block
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{dataset}: {path} is a damaged gzip file: {error}; download it again") from error


def _scan(found: TextFile, blocks: Iterator[bytes]) -> bool:
    """Counts the lines and sets the properties that DuckDB's reader needs; false if the file needs a copy."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    n_returns, n_pairs, last = 0, 0, b""
    for block in blocks:
        if b"\0" in block or not _is_text(block, decoder) or (not last and block.startswith(codecs.BOM_UTF8)):
            return False
        joint = last + block[:1]  # a pair of bytes may be split between two blocks
        ends = np.frombuffer(block, np.uint8) == ord("\n")  # five times as fast as bytes.count
        found.n_lines += int(np.count_nonzero(ends))
        found.n_blank += int(np.count_nonzero(ends[1:] & ends[:-1])) + (joint == b"\n\n")
        n_returns += block.count(b"\r") if b"\r" in block else 0
        n_pairs += block.count(b"\r\n") + (joint == b"\r\n") if n_returns else 0
        found.has_quotes = found.has_quotes or b'"' in block
        # a no-break space counts too, and is not ASCII
        found.has_spaces = found.has_spaces or b" " in block or b"\t" in block or not block.isascii()
        last = block[-1:]
    if decoder.getstate()[0]:  # the file ends inside a character
        return False
    if n_returns:
        found.newline = "\\r\\n"
    pure = n_returns in (0, found.n_lines) and n_pairs == n_returns
    found.n_lines += last != b"\n"
    return pure


def _is_text(block: bytes, decoder: codecs.IncrementalDecoder) -> bool:
    if block.isascii() and not decoder.getstate()[0]:
        return True
    try:
        decoder.decode(block)
    except UnicodeDecodeError:
        return False
    return True


def _copy_as_utf8(found: TextFile, blocks: Iterator[bytes], encoding: str) -> None:
    """Copies the file as UTF-8 with one kind of line end; a line that is not text is escaped and recorded."""
    n_lines, rest = 0, b""
    with found.path.open("wb") as out:
        for block in blocks:
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if newline:
                out.write(_clean(whole + newline, n_lines, found, encoding))
                n_lines += whole.count(b"\n") + 1
        if rest:
            out.write(_clean(rest, n_lines, found, encoding))


def _clean(text: bytes, n_before: int, found: TextFile, encoding: str) -> bytes:
    if n_before == 0:
        text = text.removeprefix(codecs.BOM_UTF8)
    text = text.replace(b"\r\n", b"\n")
    if b"\r" not in text and b"\0" not in text:
        try:
            return text.decode(encoding).encode()
        except UnicodeDecodeError:
            pass  # some line is not text: below each line is decoded separately, and bad ones are recorded
    lines = text.split(b"\n")
    return b"\n".join(_clean_line(line, n_before + place, found, encoding) for place, line in enumerate(lines, 1))


def _clean_line(line: bytes, number: int, found: TextFile, encoding: str) -> bytes:
    if b"\0" in line:
        found.bad_lines[number] = "has a zero byte"
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError as error:
        found.bad_lines[number] = f"not {encoding.upper()} text"
        text = line.decode(error.encoding, errors="backslashreplace")
    return text.replace("\0", "\\x00").replace("\r", "\\r").encode()


def _join(found: TextFile, dataset: str, work: Path, width: int, delimiter: str, header: bool) -> None:
    """Copies the file with each record on one line; every record keeps its line number."""
    copy = work / f"{len(list(work.iterdir()))}-joined-{found.path.name}"
    with found.path.open("rb") as file, copy.open("wb") as out:
        found.has_joined = join_records(Lines(file), out, width, delimiter, header, found.bad_lines)
    found.path, found.newline = copy, "\\n"
    found.n_lines = found.n_blank = 0
    _scan(found, _blocks(copy, dataset))


def _header(
    plain: Path, path: Path, dataset: str, columns: Sequence[str], delimiter: str, may_lack: Container[str]
) -> list[str]:
    with plain.open(encoding="utf-8") as file:
        first = file.readline().rstrip("\r\n")
    header = fields(first, delimiter)
    missing = [name for name in columns if name not in header and name not in may_lack]
    if missing:
        got, wanted = ", ".join(header)[:200], ", ".join(columns)
        raise DataError(
            f"{dataset}: {path} lacks {', '.join(missing)}; got {got}; expected {wanted}; correct its header"
        )
    return header
