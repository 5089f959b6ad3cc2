"""Text files made safe to read: whole, UTF-8, one row a line.

DuckDB's reader takes a truncated gzip for a whole one and stops at a byte that is no text. So each file is looked at
once, in blocks, before it is read; a file that is not plain UTF-8 with one kind of line end is copied with its odd
lines mended and noted. What is left then can be split into lines by DuckDB, in parallel, and every line has its number.
Records of several lines (RFC 4180: a line end between quotation marks) are joined before that; see joining.py.
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

BLOCK = 1 << 24  # bytes in hand at once
MAX_ODD = 0.1  # share of lines that may be no text before the whole file is said to be in another encoding
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass
class TextFile:
    """A file ready to be read: `path` is the file itself, or a copy of it in plain UTF-8."""

    name: str  # as the source calls it
    path: Path
    header: list[str]  # empty where the file has none
    n_lines: int = 0  # lines, the header and blank ones included
    n_blank: int = 0
    newline: str = "\\n"
    has_quotes: bool = False
    has_spaces: bool = False
    has_joined: bool = False  # some record took several lines; JOINT stands for the line ends inside it
    odd: dict[int, str] = field(default_factory=dict)  # line -> why it is no text

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
    """The file, checked and counted. work: a folder for copies; zipped: the reader unzips, so no copy for that alone.

    columns: of a CSV file, those that are read; without a header, all that it has; without any, each line is a row of
    its own. may_lack: those of them that the header need not have. origin: what the file was made of, for messages
    about its header. Raises DataError, in one line, if the file is empty, damaged, a web page, in another encoding,
    or lacks a column.
    """
    first = _first_bytes(path, dataset)
    _check_kind(first, path, dataset)
    plain = (zipped or not path.name.endswith(".gz")) and encoding == "utf-8"
    found = TextFile(path.name, path, [])
    if not plain or not _scan(found, _blocks(path, dataset)):
        copy = work / f"{len(list(work.iterdir()))}-{path.name.removesuffix('.gz')}"
        found = TextFile(path.name, copy, [])
        _mend(found, _blocks(path, dataset), encoding)
        _scan(found, _blocks(copy, dataset))
    if len(found.odd) > MAX_ODD * found.n_lines:
        line, why = next(iter(found.odd.items()))
        raise DataError(
            f"{dataset}: {path} is not {encoding.upper()} text: {len(found.odd)} of {found.n_lines} lines, "
            f"the first being line {line} ({why}); save it as {encoding.upper()}"
        )
    if columns and found.has_quotes and has_open_lines(_blocks(found.path, dataset)):
        _join(found, dataset, work, len(columns), delimiter, header)
    if header:
        found.header = _header(found.path, origin or path, dataset, columns, delimiter, may_lack)
    return found


def is_blank(path: Path) -> bool:
    """Whether a file, unzipped where it is gzip, holds nothing but blank lines. A damaged one is not blank."""
    try:
        return not any(block.lstrip(codecs.BOM_UTF8).strip() for block in _blocks(path, "", 1 << 16))
    except DataError:
        return False


def mentioned(path: Path, dataset: str, keys: Collection[str]) -> list[str]:
    """Those of the keys that stand somewhere in a file of JSON objects."""
    written = {key: {json.dumps(key).encode(), json.dumps(key, ensure_ascii=False).encode()} for key in keys}
    longest = max(len(text) for texts in written.values() for text in texts)
    found: set[str] = set()
    last = b""
    for block in _blocks(path, dataset):
        block = last + block  # a key may lie across two blocks
        found |= {key for key in written.keys() - found if any(text in block for text in written[key])}
        if len(found) == len(written):
            break
        last = block[-longest:]
    return sorted(found)


def _first_bytes(path: Path, dataset: str) -> bytes:
    for block in _blocks(path, dataset, 1 << 16):
        return block
    raise DataError(f"{dataset}: {path} is empty; expected rows of text; fetch it again")


def _check_kind(first: bytes, path: Path, dataset: str) -> None:
    if first.startswith(UTF16):
        raise DataError(f"{dataset}: {path} is not UTF-8 text: it begins like UTF-16; save it as UTF-8")
    if first.lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:1] == b"<":
        raise DataError(f"{dataset}: {path} is a web page, not the data; fetch the file itself")
    if not first.strip():
        raise DataError(f"{dataset}: {path} is empty; expected rows of text; fetch it again")
    if first[:4] == b"PK\x03\x04" or first[:4] == b"PAR1":
        raise DataError(f"{dataset}: {path} is not text but a zip, workbook or Parquet file; unpack or convert it")


def _blocks(path: Path, dataset: str, size: int = BLOCK) -> Iterator[bytes]:
    """The file's bytes, unzipped, in blocks."""
    try:
        with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as file:
            while block := file.read(size):
                yield block
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{dataset}: {path} is a damaged gzip file: {error}; fetch it again") from error


def _scan(found: TextFile, blocks: Iterator[bytes]) -> bool:
    """Counts what DuckDB must be told; false if the file cannot be read as it is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    n_returns, n_pairs, last = 0, 0, b""
    for block in blocks:
        if b"\0" in block or not _is_text(block, decoder) or (not last and block.startswith(codecs.BOM_UTF8)):
            return False
        joint = last + block[:1]  # a pair of bytes may lie across two blocks
        ends = np.frombuffer(block, np.uint8) == ord("\n")  # five times as fast as bytes.count
        found.n_lines += int(np.count_nonzero(ends))
        found.n_blank += int(np.count_nonzero(ends[1:] & ends[:-1])) + (joint == b"\n\n")
        n_returns += block.count(b"\r") if b"\r" in block else 0
        n_pairs += block.count(b"\r\n") + (joint == b"\r\n") if n_returns else 0
        found.has_quotes = found.has_quotes or b'"' in block
        # a no-break space is one too, and no ASCII
        found.has_spaces = found.has_spaces or b" " in block or b"\t" in block or not block.isascii()
        last = block[-1:]
    if decoder.getstate()[0]:  # the file ends within a letter
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


def _mend(found: TextFile, blocks: Iterator[bytes], encoding: str) -> None:
    """Copies the file as UTF-8 with one kind of line end; a line that is no text is written with escapes and noted."""
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
            pass  # some line is at fault: below each is tried on its own, and noted
    lines = text.split(b"\n")
    return b"\n".join(_clean_line(line, n_before + place, found, encoding) for place, line in enumerate(lines, 1))


def _clean_line(line: bytes, number: int, found: TextFile, encoding: str) -> bytes:
    if b"\0" in line:
        found.odd[number] = "holds a zero byte"
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError as error:
        found.odd[number] = f"not {encoding.upper()} text"
        text = line.decode(error.encoding, errors="backslashreplace")
    return text.replace("\0", "\\x00").replace("\r", "\\r").encode()


def _join(found: TextFile, dataset: str, work: Path, width: int, delimiter: str, header: bool) -> None:
    """Copies the file with each record on one line, which leaves every record's line number as it was."""
    copy = work / f"{len(list(work.iterdir()))}-joined-{found.path.name}"
    with found.path.open("rb") as file, copy.open("wb") as out:
        found.has_joined = join_records(Lines(file), out, width, delimiter, header, found.odd)
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
        raise DataError(f"{dataset}: {path} lacks {', '.join(missing)}; got {got}; expected {wanted}; mend its header")
    return header
