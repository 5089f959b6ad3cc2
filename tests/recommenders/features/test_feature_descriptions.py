from pathlib import Path

import pytest

from recommenders.features import ranking
from recommenders.features.feature_descriptions import (
    FEATURES,
    ITEM_ATTRIBUTES,
    ITEMS,
    PAIRS,
    REPURCHASE,
    USER_ATTRIBUTES,
    USERS,
    Feature,
    page_tables,
)
from recommenders.features.repurchase import REPURCHASE_FEATURES
from recommenders.storage import schema

PAGE = Path(__file__).parents[3] / "docs" / "features.md"


@pytest.mark.parametrize(
    ("described", "computed"),
    [
        (ITEMS, ranking.ITEM_FEATURES),
        (USERS, ranking.USER_FEATURES),
        (PAIRS, ranking.PAIR_FEATURES),
        (REPURCHASE, REPURCHASE_FEATURES),
    ],
    ids=["items", "users", "pairs", "repurchase"],
)
def test_the_columns_that_are_computed_are_described_in_their_order(
    described: tuple[Feature, ...], computed: tuple[str, ...]
) -> None:
    assert tuple(feature.name for feature in described) == computed


def test_attributes_are_columns_of_the_source_tables() -> None:
    assert {feature.name for feature in ITEM_ATTRIBUTES} <= set(schema.ITEMS.names)
    assert {feature.name for feature in USER_ATTRIBUTES} <= set(schema.USERS.names)


def test_every_name_is_unique_and_has_a_meaning_and_a_unit() -> None:
    features = [feature for kind in FEATURES.values() for feature in kind]
    assert len({feature.name for feature in features}) == len(features)
    assert all(feature.meaning and feature.unit for feature in features)


def test_the_docs_page_contains_the_descriptions() -> None:
    assert PAGE.read_text().endswith(page_tables())


def test_one_line_describes_a_column() -> None:
    assert Feature("age", "time since the first event", "days", "-1: no event").describe() == (
        "time since the first event. Unit: days. -1: no event."
    )
    assert Feature("age", "time since the first event", "days").describe() == "time since the first event. Unit: days."
