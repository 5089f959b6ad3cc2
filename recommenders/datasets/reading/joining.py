"""Records of several lines, each joined into one: RFC 4180 allows a line end between quotation marks.

A record that spans lines begins and ends with a line that has an odd number of quotation marks, and every line between
has an even number. So only odd lines are looked at, and a file without one is left as it is. A mark that was never
closed is such a line too. It takes no other row with it: lines are joined only where together they are one whole record
with as many fields as the header has.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

import numpy as np

JOINT = "\u2028"  # stands for a line end inside a record: Unicode's own line separator
MAX_RECORD = 1 << 24  # bytes
MAX_ROWS = 8  # lines between a record's first and last that may all look like rows: more are rows behind an open quote
QUOTE = ord('"')


def has_open_lines(blocks: Iterable[bytes]) -> bool:
    """Whether some line has an odd number of quotation marks."""
    n_open = 0  # marks so far of the line that the block before did not end
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
    """The lines of a file, with one kind of line end; lines that were looked at can be put back."""

    def __init__(self, file: Iterable[bytes]) -> None:
        self._file = iter(file)
        self._back: deque[bytes] = deque()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._back.popleft() if self._back else next(self._file).replace(b"\r\n", b"\n")

    def record(self, whole: re.Pattern[str], first: bytes) -> list[bytes]:
        """The lines of the record that begins with `first`: that line alone where no more make a whole record."""
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
        """Gives these lines again, before all others."""
        self._back.extendleft(reversed(lines))


def join_records(lines: Lines, out: BinaryIO, width: int, delimiter: str, header: bool, odd: dict[int, str]) -> bool:
    """Writes the lines with each record of several on its first one and blank ones for the rest; whether any was.

    width: fields of a record where there is no header. odd: line -> why it is no text; what is said of a line of a
    record is then said of the record.
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
            _carry(odd, n_lines + 1, len(taken))
        out.write(_joined(taken).encode() + b"\n" * len(taken) if len(taken) > 1 else line)
        n_lines += len(taken)
    return has_joined


def _hides_rows(between: Sequence[bytes], width: int, delimiter: str) -> bool:
    full = [line for line in between if line.strip()]
    return len(full) > MAX_ROWS and all(line.count(delimiter.encode()) == width - 1 for line in full)


def fields(line: str, delimiter: str) -> list[str]:
    """The names of a header, each in one line and without spaces around it."""
    return [name.replace(JOINT, " ").strip() for name in next(csv.reader([line], delimiter=delimiter))]


def _is_odd(line: bytes) -> bool:
    return bool(line.count(b'"') & 1)


def _whole(delimiter: str, width: int | None = None) -> re.Pattern[str]:
    """A pattern of a whole record; a mark inside a field that begins without one is a letter like others."""
    first, sign = re.escape(delimiter[0]), re.escape(delimiter)
    field = rf'(?:"[^"]*+(?:""[^"]*+)*+"|[^{first}"\n][^{first}\n]*+)?'
    return re.compile(f"{field}(?:{sign}{field}){'*' if width is None else f'{{{width - 1}}}'}")


def _joined(lines: Sequence[bytes]) -> str:
    return b"".join(lines).decode().rstrip("\n").replace("\n", JOINT)


def _carry(odd: dict[int, str], first: int, n_lines: int) -> None:
    """Says of the record what was said of its first odd line."""
    said = [why for number in range(first, first + n_lines) if (why := odd.pop(number, None)) is not None]
    if said:
        odd[first] = said[0]
