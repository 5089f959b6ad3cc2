import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recommenders.errors import DataError
from recommenders.events.ids import IdMap
from recommenders.features.items import ItemFeatures, encode_items, encode_items_as_of
from recommenders.features.words import tf_idf
from recommenders.storage import schema

WORD = st.sampled_from(["tape", "brown", "clear", "box", ""])
ROW = st.fixed_dictionaries(
    {
        "title": st.none() | WORD,
        "category": st.none() | WORD,
        "subcategory": st.none() | WORD,
        "brand": st.none() | WORD,
        "price": st.none() | st.floats(0, 1e9),
        "rating": st.none() | st.floats(0, 5),
    }
)


def cosine(features: ItemFeatures) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    dense = features.vectors.toarray()
    return np.asarray(dense @ dense.T)


def table_of(rows: list[dict[str, object]]) -> pa.Table:
    rows = [{"item_id": f"i{n}"} | row for n, row in enumerate(rows)]
    return schema.conform(pa.Table.from_pylist(rows), schema.ITEMS, "items")


def test_more_similar_items_have_a_larger_cosine(items: pa.Table) -> None:
    features = encode_items(items, IdMap.from_ids(["a", "b", "c", "d", "e"]))
    near = cosine(features)
    assert near[0, 1] > near[2, 3] > near[0, 2]
    assert features.categories.tolist() == ["packaging", "packaging", "catering", "catering", "catering"]


def test_an_unknown_id_is_a_row_of_zeros(items: pa.Table) -> None:
    features = encode_items(items, IdMap.from_ids(["a", "zzz"]))
    assert features.vectors.shape[0] == 2
    assert features.vectors.toarray()[1].tolist() == [0.0] * features.vectors.shape[1]
    assert features.categories.tolist() == ["packaging", ""]


@settings(max_examples=60)
@example([{"rating": rating} for rating in (None, None, None, 0.0, 0.0, 1.0, 2.22507386e-309, 5e-324)])
@given(st.lists(ROW, min_size=1, max_size=8))
def test_rows_have_norm_one_or_zero(rows: list[dict[str, object]]) -> None:
    table = table_of(rows)
    features = encode_items(table, IdMap.from_ids(table["item_id"].to_pylist()))
    lengths = np.linalg.norm(features.vectors.toarray(), axis=1)
    assert features.vectors.dtype == np.float32
    assert np.isfinite(features.vectors.data).all()
    assert np.all(np.isclose(lengths, 1, atol=1e-5) | (lengths == 0))


@settings(max_examples=30)
@given(st.lists(ROW, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_the_table_does_not_matter(rows: list[dict[str, object]], random: object) -> None:
    table = table_of(rows)
    places = list(range(len(rows)))
    random.shuffle(places)  # type: ignore[attr-defined]
    ids = IdMap.from_ids(table["item_id"].to_pylist())
    np.testing.assert_allclose(
        cosine(encode_items(table.take(places), ids)), cosine(encode_items(table, ids)), atol=1e-6
    )


def test_closer_prices_have_a_larger_cosine() -> None:
    table = table_of([{"title": None, "price": 1.2**n} for n in range(40)])
    ids = IdMap.from_ids(table["item_id"].to_pylist())
    cosines = cosine(encode_items(table, ids))
    place = ids.rows([f"i{n}" for n in range(40)])  # i10 sorts before i2
    near = cosines[np.ix_(place, place)]
    assert near[0, 1] > near[0, 4] > near[0, 20]
    assert near[30, 31] > near[30, 34] > near[30, 2]


def test_a_duplicate_item_is_rejected(items: pa.Table) -> None:
    with pytest.raises(DataError, match="1 item_ids occur twice; keep one row"):
        encode_items(pa.concat_tables([items, items.slice(0, 1)]), IdMap.from_ids(["a"]))


@settings(max_examples=40)
@given(st.lists(st.lists(WORD, max_size=5).map(" ".join), max_size=10))
def test_tf_idf_is_the_formula(texts: list[str]) -> None:
    counts = [Counter(text.split()) for text in texts]
    found = Counter(word for count in counts for word in count)
    shared = sorted(word for word, n in found.items() if n > 1)
    idf = {word: math.log((1 + len(texts)) / (1 + found[word])) + 1 for word in shared}
    expected = [[(1 + math.log(n)) * idf[word] if (n := count[word]) else 0.0 for word in shared] for count in counts]
    ours = tf_idf(texts)
    assert (ours.shape, ours.dtype) == ((len(texts), len(shared)), np.float32)
    np.testing.assert_allclose(ours.toarray(), np.reshape(expected, ours.shape), rtol=1e-5)


def test_words_are_letters_of_any_script_in_any_case() -> None:
    texts = ["Größe 12cm λέξη box_1 x", "GRÖSSE größe Box 12cm Λέξη", "x x"]
    assert tf_idf(texts).toarray().astype(bool).sum(axis=0).tolist() == [2, 2, 2, 2]  # box, cm, größe, λέξη


def test_earlier_states_of_items_are_encoded_as_of_their_time_and_survive_a_bundle(tmp_path: Path) -> None:
    old, new = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    states = schema.conform(
        pa.table({"item_id": ["a", "a", "b"], "category": ["tape", "box", "box"], "valid_from": [old, new, None]}),
        schema.ITEMS,
        "items",
    )
    ids = IdMap.from_ids(["a", "b"])
    latest = encode_items_as_of(states, ids, new)
    assert latest.categories.tolist() == ["box", "box"]
    latest.save(tmp_path / "features")
    for features in (latest, ItemFeatures.load(tmp_path / "features")):
        earlier = features.as_of(old, ids)
        assert earlier.categories.tolist() == ["tape", "box"]
        assert cosine(earlier)[0, 1] == 0
    unchanging = encode_items_as_of(states.slice(2), ids, new)
    assert unchanging.as_of(old, ids) is unchanging  # nothing to encode again
