from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recommenders.errors import UnknownNameError
from recommenders.events.interactions import Interactions
from recommenders.features import co_purchase as module
from recommenders.features.co_purchase import baskets, baskets_as_of, co_purchase
from recommenders.storage import schema

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TOY = csr_array(np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]], dtype=np.float32))
MATRICES = st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=12).map(
    lambda rows: csr_array(np.array(rows, dtype=np.float32))
)


def test_counts_and_norms_by_hand() -> None:
    counts = co_purchase(TOY, norm="count").toarray()
    assert counts.tolist() == [[0, 2, 1, 0], [2, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert co_purchase(TOY, norm="cosine").toarray()[0, 1] == pytest.approx(2 / np.sqrt(3 * 2))
    assert co_purchase(TOY, norm="lift").toarray()[0, 2] == pytest.approx(1 * 4 / (3 * 2))


def test_the_strongest_are_kept_and_of_ties_the_first() -> None:
    assert co_purchase(TOY, top=1, norm="count").toarray().tolist() == [
        [0, 2, 0, 0],
        [2, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_baskets_above_the_limit_are_left_out() -> None:
    assert co_purchase(TOY, norm="count", largest=2).toarray()[0].tolist() == [0, 1, 0, 0]


@settings(max_examples=40)
@given(MATRICES)
def test_it_is_the_gram_matrix_in_any_number_of_blocks(matrix: csr_array) -> None:
    dense = matrix.toarray()
    gram = dense.T @ dense
    sizes = np.sqrt(np.diag(gram))
    np.fill_diagonal(gram, 0)
    expected = np.divide(gram, np.outer(sizes, sizes), out=np.zeros_like(gram), where=gram > 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 4)
        found = co_purchase(matrix, top=6).toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.max(initial=0) <= 1 + 1e-6
    assert found.dtype == np.float32


def test_baskets_of_a_log_by_visit_by_order_and_by_user(events: pa.Table, tmp_path: Path) -> None:
    log = Interactions.from_table(events)
    by_visit = baskets(log)
    assert by_visit.shape == (5, 3)
    assert sorted(map(tuple, by_visit.toarray().tolist())) == [(0, 0, 1), (0, 0, 1), (1, 0, 0), (1, 0, 0), (1, 1, 0)]
    assert baskets(log, "user").toarray().tolist() == [[1, 1, 0], [1, 0, 1], [0, 0, 1]]
    pq.write_table(events, tmp_path / "events.parquet")
    for rows in (events, [tmp_path / "events.parquet"]):
        by_order, ids = baskets_as_of(rows, NOW + timedelta(days=9))
        assert ids.ids.tolist() == ["a", "b", "c"]
        assert sorted(map(tuple, by_order.toarray().tolist())) == sorted(map(tuple, by_visit.toarray().tolist()))
        assert baskets_as_of(rows, NOW, "user")[0].toarray().tolist() == [[1, 1, 0], [1, 0, 1]]


def test_an_empty_log_gives_an_empty_matrix() -> None:
    matrix, ids = baskets_as_of(schema.INTERACTIONS.empty_table(), NOW)
    assert (matrix.shape, len(ids)) == ((0, 0), 0)
    assert co_purchase(matrix).shape == (0, 0)
    assert baskets(Interactions.from_table(schema.INTERACTIONS.empty_table())).shape == (0, 0)


def test_unknown_names_are_rejected(events: pa.Table) -> None:
    with pytest.raises(UnknownNameError, match="unknown within 'week'; choose from order, user"):
        baskets_as_of(events, NOW, "week")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown norm 'cos'; choose from cosine, count, lift"):
        co_purchase(TOY, norm="cos")  # type: ignore[arg-type]
