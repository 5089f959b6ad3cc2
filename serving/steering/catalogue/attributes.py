"""The attributes of items or users as arrays, one value for each id; ids and texts are packed bytes.

200,000 titles as Python strings would take several times the memory.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

Kind = Literal["text", "number", "boolean"]
Value = str | float | bool

KINDS: tuple[Kind, ...] = ("text", "number", "boolean")


class Texts(Sequence[str]):
    """Sorted distinct texts: their UTF-8 bytes, and the end of each."""

    def __init__(self, data: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.data, self.ends = data, ends

    @classmethod
    def from_sorted(cls, texts: Sequence[str]) -> "Texts":
        """The texts, which are distinct and in the order of their code points."""
        encoded = [text.encode() for text in texts]
        ends = np.cumsum([len(each) for each in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        start = self.ends[place - 1] if place else 0
        return self.data[start : self.ends[place]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        data, ends = self.data.tobytes(), self.ends.tolist()
        return (data[start:end].decode() for start, end in pairwise([0, *ends]))

    def place(self, text: str) -> int:
        """The place of a text, -1 if it is none of them."""
        found = bisect_left(self, text)  # UTF-8 sorts as code points do
        return found if found < len(self) and self[found] == text else -1


@dataclass(frozen=True, eq=False)
class Column:
    """The values of one attribute, (n,).

    text: int32 places in `texts`. number: float64. boolean: int8. Missing: nan for a number, else -1.
    """

    kind: Kind
    values: NDArray[Any]
    texts: Texts

    def value(self, row: int) -> Value | None:
        """The value of one row as plain Python; None if it is missing, or if the row is -1."""
        found = self.values[row].item() if row >= 0 else -1
        if self.kind == "number":
            return None if row < 0 or found != found else float(found)
        if found < 0:
            return None
        return self.texts[found] if self.kind == "text" else bool(found)

    def take(self, rows: NDArray[np.int32]) -> NDArray[Any]:
        """The values of many rows, as they are stored; missing where the row is -1."""
        missing = np.nan if self.kind == "number" else -1
        if not len(self.values):
            return np.full(len(rows), missing, self.values.dtype)
        return np.where(rows >= 0, self.values[rows], self.values.dtype.type(missing))


@dataclass(frozen=True, eq=False)
class AttributeTable:
    """The attributes of items or of users, by name; row i is that of ids[i]."""

    ids: Texts
    columns: Mapping[str, Column]

    @property
    def kinds(self) -> dict[str, Kind]:
        """Attribute -> its kind."""
        return {name: column.kind for name, column in self.columns.items()}

    def row(self, id_: str) -> int:
        """The row of an id, -1 if it is unknown."""
        return self.ids.place(id_)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The table as named arrays; a name states the kind of its attribute."""
        found: dict[str, NDArray[Any]] = {"ids.bytes": self.ids.data, "ids.ends": self.ids.ends}
        for name, column in self.columns.items():
            found[f"{column.kind}.{name}.values"] = column.values
            if column.kind == "text":
                found |= {f"text.{name}.bytes": column.texts.data, f"text.{name}.ends": column.texts.ends}
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "AttributeTable":
        """The inverse of arrays(). Raises KeyError or ValueError for other arrays."""
        columns = {}
        for key, values in arrays.items():
            kind, _, rest = key.partition(".")
            name, _, part = rest.partition(".")
            if part == "values":
                known = KINDS[KINDS.index(kind)]
                texts = Texts(arrays[f"text.{name}.bytes"], arrays[f"text.{name}.ends"]) if kind == "text" else NO_TEXTS
                columns[name] = Column(known, values, texts)
        ids = Texts(arrays["ids.bytes"], arrays["ids.ends"])
        if wrong := [name for name, column in columns.items() if len(column.values) != len(ids)]:
            raise ValueError(f"{', '.join(wrong)}: not one value for each of {len(ids)} ids")
        return cls(ids, dict(sorted(columns.items())))


NO_TEXTS = Texts(np.zeros(0, np.uint8), np.zeros(0, np.int64))
