"""What a model knows of an erased user counts only from after the erasure."""

from pathlib import Path
from typing import Any

import pytest

from serving.lists.predictor import Predictor
from serving.steering.catalogue.attributes import NO_TEXTS, AttributeTable

USERS = AttributeTable(NO_TEXTS, {})


@pytest.mark.parametrize(
    ("since", "row", "columns"),
    [(None, 2, [2, 0, 0]), (5, 2, [2, 0, 0]), (6, -1, [0, 0]), (7, -1, [0]), (8, -1, [])],
)
def test_stored_events_up_to_the_erasure_do_not_count(
    market: Any, tmp_path: Path, since: int | None, row: int, columns: list[int]
) -> None:
    """User 3 has events at the times 6, 7 and 8."""
    predictor = Predictor(market.bundle(tmp_path))
    query, _ = predictor.query("3", [], users=USERS, since=since)
    assert (query.user_row, query.known.item_columns.tolist(), query.n_stored) == (row, columns, len(columns))
    assert query.users is (USERS if since is None else None)
    query, _ = predictor.query("3", ["104"], "discover", since=since)
    assert query.known.item_columns.tolist() == [*columns, 3]
    assert query.user_row == row
    unknown, _ = predictor.query("999", ["104"], since=since)
    assert (unknown.user_row, unknown.known.item_columns.tolist()) == (-1, [3])
