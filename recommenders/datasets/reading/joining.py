"""Joins CSV records of several lines into one line each: RFC 4180 allows line ends between quotation marks.

A record of several lines begins and ends with a line that has an odd number of quotation marks; every line between has
an even number. So only odd lines are examined, and a file without odd lines is not changed. A quotation mark that is
never closed also makes a line odd. It does not affect other rows: lines are joined only if together they are one
complete record with as many fields as the header.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import numpy as np

LINE_END_MARK = "\u2028"  # replaces a line end inside a record: Unicode's line separator
MAX_RECORD = 1 << 24  # bytes
MAX_ROWS = 8  # most inner lines of a record that may all look like rows; more are rows after an open quote
QUOTE = ord('"')


def has_open_lines(blocks: Iterable[bytes]) -> bool:
    """Whether any line has an odd number of quotation marks."""
    n_open = 0  # marks so far in the line that the previous block did not end
    for block in blocks:
        text = np.frombuffer(block, np.uint8)
        marks = np.flatnonzero(text == QUOTE)
        ends = np.flatnonzero(text == ord("\n"))
        counts = np.bincount(np.searchsorted(ends, marks), minlength=len(ends) + 1)
        counts[0] += n_open
        if (counts[:-1] & 1).any():
            return True
        n_open = int(counts[-1])
    return bool(n_open & 1)


class Lines:
    """An iterator over the lines of a file, all with the same line end; lines can be put back."""

    def __init__(self, file: Iterable[bytes]) -> None:
        self._file = iter(file)
        self._back: deque[bytes] = deque()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._back.popleft() if self._back else next(self._file).replace(b"\r\n", b"\n")

    def record(self, whole: re.Pattern[str], first: bytes) -> list[bytes]:
        """The lines of the record that begins with `first`; only that line if more lines make no complete record."""
        if not _is_odd(first):
            return [first]
        more, n_bytes = [], 0
        for line in self:
            more.append(line)
            n_bytes += len(line)
            if _is_odd(line) or n_bytes > MAX_RECORD:
                break
        if more and _is_odd(more[-1]) and whole.fullmatch(b"".join([first, *more]).decode().rstrip("\n")):
            return [first, *more]
        self._back.extendleft(reversed(more))
        return [first]

    def put_back(self, lines: Sequence[bytes]) -> None:
        """Puts these lines back; they come next."""
        self._back.extendleft(reversed(lines))


def join_records(
    lines: Lines, out: BinaryIO, width: int, delimiter: str, header: bool, bad_lines: dict[int, str]
) -> bool:
    """Writes each record of several lines on its first line and blank lines for the others; whether it joined any.

    width: fields of a record if there is no header. bad_lines: line -> why it is not text; the reason of a line inside
    a joined record is moved to the record's first line.
    """
    whole, n_lines, has_joined = _whole(delimiter, width), 0, False
    for line in lines:
        is_header = header and not n_lines
        taken = lines.record(_whole(delimiter) if is_header else whole, line)
        if is_header:
            width = len(fields(_joined(taken), delimiter))
            whole = _whole(delimiter, width)
        elif _hides_rows(taken[1:-1], width, delimiter):
            lines.put_back(taken[1:])
            taken = taken[:1]
        if len(taken) > 1:
            has_joined = True
            _merge_reasons(bad_lines, n_lines + 1, len(taken))
        out.write(_joined(taken).encode() + b"\n" * len(taken) if len(taken) > 1 else line)
        n_lines += len(taken)
    return has_joined


def _hides_rows(between: Sequence[bytes], width: int, delimiter: str) -> bool:
    full = [line for line in between if line.strip()]
    return len(full) > MAX_ROWS and all(line.count(delimiter.encode()) == width - 1 for line in full)


def fields(line: str, delimiter: str) -> list[str]:
    """The column names of a header, each on one line and without surrounding spaces."""
    return [name.replace(LINE_END_MARK, " ").strip() for name in next(csv.reader([line], delimiter=delimiter))]


def _is_odd(line: bytes) -> bool:
    return bool(line.count(b'"') & 1)


def _whole(delimiter: str, width: int | None = None) -> re.Pattern[str]:
    """A pattern of a complete record; a mark inside a field that does not begin with one is an ordinary character."""
    first, separator = re.escape(delimiter[0]), re.escape(delimiter)
    field = rf'(?:"[^"]*+(?:""[^"]*+)*+"|[^{first}"\n][^{first}\n]*+)?'
    return re.compile(f"{field}(?:{separator}{field}){'*' if width is None else f'{{{width - 1}}}'}")


def _joined(lines: Sequence[bytes]) -> str:
    return b"".join(lines).decode().rstrip("\n").replace("\n", LINE_END_MARK)


def _merge_reasons(bad_lines: dict[int, str], first: int, n_lines: int) -> None:
    """Gives the record's first line the reason of its first bad line; removes those of the other lines."""
    reasons = [why for number in range(first, first + n_lines) if (why := bad_lines.pop(number, None)) is not None]
    if reasons:
        bad_lines[first] = reasons[0]
