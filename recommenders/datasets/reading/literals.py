"""Lines of Python literals as JSON lines: the metadata of old crawls was written with repr(). Nothing is evaluated."""

import ast
import gzip
import json
import re
import warnings
from pathlib import Path
from typing import Any

STRING = re.compile(r""""([^"]*)"|'([^']*)'""")


def to_json(source: Path, target: Path) -> None:
    """Writes each line's literal as JSON; a line that is none, or no UTF-8, stays as it is and keeps its number.

    Files whose name ends in .gz are gzip.
    """
    with warnings.catch_warnings(), _open(source, "rb") as lines, _open(target, "wb") as out:
        warnings.simplefilter("ignore", SyntaxWarning)  # "\d" in a title is no error
        for line in lines:
            out.write((_as_json(line) or line.rstrip(b"\r\n")) + b"\n")


def read_literal(text: str) -> Any:
    """What a literal of strings, numbers, lists and dictionaries stands for; None if the text is none."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _open(path: Path, mode: str) -> Any:
    return gzip.open(path, mode, compresslevel=1) if path.name.endswith(".gz") else path.open(mode)


def _as_json(line: bytes) -> bytes | None:
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        return None
    quick = _requoted(text) if text else None
    if quick is not None:
        return quick.encode()
    value = read_literal(text)
    try:
        return json.dumps(value, allow_nan=False).encode() if isinstance(value, dict) else None
    except (TypeError, ValueError):
        return None


def _requoted(text: str) -> str | None:
    """The literal with JSON's quotation marks, ten times as fast as parsing Python; None if that does not do.

    Without a backslash a string ends at the next mark of its own kind, so that exchanging the marks changes no string.
    True, None, u"", tuples and the rest are no JSON and go the long way.
    """
    if "\\" in text:
        return None
    quick = STRING.sub(_requote, text) if '"' in text else text.replace("'", '"')
    try:
        return quick if isinstance(json.loads(quick, parse_constant=_refuse), dict) else None
    except ValueError:
        return None


def _requote(match: re.Match[str]) -> str:
    return match[0] if match[2] is None else json.dumps(match[2], ensure_ascii=False)


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number in a literal")
