from pathlib import Path

import pytest

from recommenders.features.catalog import CATALOGUE, Feature, page_tables, schema_of
from recommenders.storage import schema

PAGE = Path(__file__).parents[3] / "docs" / "features.md"
TABLES = {"interactions": schema.INTERACTIONS, "items": schema.ITEMS, "users": schema.USERS}


@pytest.mark.parametrize("features", CATALOGUE.values(), ids=CATALOGUE)
def test_every_feature_has_a_unique_name_a_meaning_and_a_unit(features: tuple[Feature, ...]) -> None:
    assert len({f.name for f in features}) == len(features)
    assert all(f.meaning and f.unit and f.source for f in features)
    assert [field.nullable for field in schema_of(features)] == [False] + [True] * (len(features) - 1)


@pytest.mark.parametrize("features", CATALOGUE.values(), ids=CATALOGUE)
def test_every_source_is_a_column_that_exists(features: tuple[Feature, ...]) -> None:
    for feature in features:
        table = ""
        for part in feature.source.split(", "):  # "interactions.quantity, unit_price, items.price"
            table, column = part.split(".") if "." in part else (table, part)
            assert column in TABLES[table].names, f"{feature.name}: {table} has no column {column}"


def test_the_docs_page_contains_the_catalogue() -> None:
    assert PAGE.read_text().endswith(page_tables())
