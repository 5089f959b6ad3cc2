"""Feedback of an erased user that trainings have read into files: only events from after the erasure count."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from recommenders.datasets.reading.counted_feedback import FeedbackRule, count_feedback
from recommenders.storage.erased_users import id_hash
from recommenders.storage.feedback_files import COLUMNS, FeedbackFiles

NOON = datetime(2010, 12, 5, 12, tzinfo=UTC)  # of the newest event of the source
UNTIL = int(NOON.timestamp() * 1e6)
RULE = FeedbackRule({"purchase": 1.0}, {})


def page(*events: tuple[int, str, str, int]) -> pa.Table:
    """Purchases: sequence, user, item, hours after the newest event of the source."""
    rows = [
        {"sequence": n, "event_id": f"e{n}", "event": "purchase", "user_id": user, "item_id": item}
        | {"timestamp": NOON + timedelta(hours=hours)}
        for n, user, item, hours in events
    ]
    return pa.Table.from_pylist(rows, COLUMNS)


def test_events_of_an_erased_user_count_only_from_after_the_erasure(tmp_path: Path) -> None:
    files = FeedbackFiles(tmp_path)
    files.append(page((1, "9", "A", 1), (3, "1", "B", 1)))
    files.append(page((5, "9", "A", 2), (6, "9", "A", -1), (7, "9", "C", 3)))
    before = count_feedback(RULE, files, UNTIL)
    assert (before.rows.num_rows, before.passed_over) == (4, 1)
    files.forget({id_hash("9"): 6, id_hash("unknown"): 7})
    after = count_feedback(RULE, files, UNTIL)
    assert after.rows.select(["user_id", "item_id"]).to_pylist() == [
        {"user_id": "1", "item_id": "B"},
        {"user_id": "9", "item_id": "C"},
    ]
    assert (after.passed_over, after.position) == (0, files.position())
    assert after.data_version("1") != before.data_version("1")
    files.forget({id_hash("9"): 7})
    last = count_feedback(RULE, files, UNTIL)
    assert (last.rows["user_id"].to_pylist(), last.position) == (["1"], files.position())
