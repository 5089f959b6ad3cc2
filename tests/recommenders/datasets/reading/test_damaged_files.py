"""Damaged files in every family of text sources: each gives one clear error, in one line."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recommenders.datasets.all_datasets import DATASETS
from recommenders.errors import DataError

FILES = {
    "movielens": "ratings.csv",
    "retailrocket": "events.csv",
    "amazon": "Made_Up_5.json.gz",
    "online_retail": "online_retail.csv",
}
DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "is empty"),
    "blank": (lambda _: b"\n \n", "is empty"),
    "web page": (lambda _: b"<!doctype html><html><body>Sign in</body></html>", "is a web page, not the data"),
    "UTF-16": (lambda good: good[:2000].decode().encode("utf-16"), "is not UTF-8 text: it begins like UTF-16"),
    "Latin-1": (lambda good: accented(good[:2000]), "is not UTF-8 text: "),
    "zip": (lambda good: b"PK\x03\x04" + good[:2000], "is not text but a zip"),
}
ONLY_CSV: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "header only": (lambda good: good.splitlines()[0], "has a header but no rows"),
    "column missing": (lambda good: good.replace(good[: good.index(b",")], b"x", 1), "lacks "),
}
ONLY_JSON: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "column missing": (lambda good: good.replace(b'"overall"', b'"stars"'), "lacks overall; got "),
    "another thing": (lambda _: b'{"name": "Elm"}', "has neither reviews nor products: got name; expected"),
    "one array": (lambda good: b"[" + good.splitlines()[0] + b"]", "has neither reviews nor products: got no JSON"),
}


def accented(good: bytes) -> bytes:
    """Every line but the header gets an accented letter of one byte."""
    return good.replace(b"\n", b"\xe9\n")


@pytest.mark.parametrize(("name", "file"), FILES.items())
def test_a_damaged_file_is_one_clear_error(name: str, file: str, layouts: Any, tmp_path: Path) -> None:
    source = getattr(layouts, name)(tmp_path / "source", *([500, 500] if name == "retailrocket" else [500]))
    path = source / file
    whole = path.read_bytes()
    good = gzip.decompress(whole) if file.endswith(".gz") else whole
    for what, (damage, expected) in {**DAMAGE, **(ONLY_JSON if name == "amazon" else ONLY_CSV)}.items():
        path.write_bytes(gzip.compress(damage(good)) if file.endswith(".gz") else damage(good))
        assert expected in failure(name, source), what
    path.write_bytes(whole)
    if name in ("amazon", "online_retail"):
        path.unlink()
        packed = source / ("cut.json.gz" if name == "amazon" else "cut.csv.gz")
        packed.write_bytes(gzip.compress(good)[:-20])
        assert f"{packed.name} is a damaged gzip file" in failure(name, source)


def failure(name: str, source: Path) -> str:
    with pytest.raises(DataError) as caught:
        DATASETS[name].read(source)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    return message
