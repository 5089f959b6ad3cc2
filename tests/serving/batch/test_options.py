"""The options of batch lists, and what is refused before anything is loaded."""

from pathlib import Path
from typing import Any

import pytest

from recommenders.errors import ConfigurationError
from serving.batch.options import BatchOptions, format_of, read_filters


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n": 0}, "batch n: got 0; allowed: a whole number from 1 to 100"),
        ({"n": 101}, "batch n: got 101; allowed"),
        ({"scene": "gift"}, "batch scene: got 'gift'; allowed: for_you, reorder, discover or basket"),
        ({"fields": [1]}, r"batch fields\[0\]: got 1; allowed: a name of an attribute"),
        ({"fields": ["price", "rank"]}, "batch fields: got 'rank', which is a column of every file of lists"),
        ({"fields": ["\udcff"]}, "batch: got an option that is not UTF-8 text"),
        ({"filters": {"x" * 65: 1}}, "batch filters.*: got .*; allowed: an object of up to 100 attributes"),
    ],
)
def test_an_option_that_the_service_would_refuse_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        BatchOptions(**given).request()


def test_options_become_a_request() -> None:
    asked = BatchOptions("reorder", 3, ("price", "title", "price"), {"price": {"max": 2}}).request()
    assert (asked.scene, asked.n_recommendations, asked.fields) == ("reorder", 3, ("price", "title"))
    assert asked.filters == {"price": {"max": 2}}
    assert BatchOptions().request().n_recommendations == 10


def test_filters_are_a_json_object() -> None:
    assert read_filters('{"price": {"max": 2}}') == {"price": {"max": 2}}
    for text in ("category=Tools", "[1]", ""):
        with pytest.raises(ConfigurationError, match=r"batch filters: got .*; allowed: a JSON object such as \{"):
            read_filters(text)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        (None, None, "parquet"),
        (None, "csv", "csv"),
        ("lists.csv", None, "csv"),
        ("lists.parquet", "parquet", "parquet"),
        ("lists", "csv", "csv"),
        ("lists.tsv", "csv", "csv"),
    ],
)
def test_the_name_or_the_option_says_the_format(name: str | None, given: str | None, expected: str) -> None:
    assert format_of(Path(name) if name else None, given) == expected


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (None, "json", "--format: got 'json'; allowed: parquet or csv"),
        ("lists", None, r"--output: got lists; allowed: a name that ends in \.parquet or \.csv; rename it, or give"),
        ("lists.xlsx", None, r"--output: got lists\.xlsx; allowed"),
        ("lists.csv", "parquet", "--format: got 'parquet'; allowed: csv, as --output ends"),
        ("lists.csv", "json", "--format: got 'json'; allowed: csv, as --output ends"),
    ],
)
def test_another_format_is_refused(name: str | None, given: str | None, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        format_of(Path(name) if name else None, given)
