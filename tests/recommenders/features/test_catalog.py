import pytest

from recommenders.features.catalog import ITEM_FEATURES, USER_FEATURES, Feature, schema_of


@pytest.mark.parametrize("features", [ITEM_FEATURES, USER_FEATURES])
def test_every_feature_has_a_name_of_its_own_a_meaning_and_a_unit(features: tuple[Feature, ...]) -> None:
    assert len({f.name for f in features}) == len(features)
    assert all(f.meaning and f.unit for f in features)
    assert [field.nullable for field in schema_of(features)] == [False] + [True] * (len(features) - 1)
