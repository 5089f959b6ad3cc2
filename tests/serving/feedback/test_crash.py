"""A writer that is killed loses no event that it acknowledged."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.feedback.store import FeedbackStore

# prints the number of each batch as soon as it is stored
WRITER = """
import sys
from serving.feedback.events import StoredEvent
from serving.feedback.store import FeedbackStore
store = FeedbackStore(sys.argv[1], "toy")
for number in range(int(sys.argv[2]), 10**9):
    store.append([StoredEvent(f"{number}-{n}", "click", "u", "i", 0, 0) for n in range(20)])
    print(number, flush=True)
"""


@pytest.mark.slow
def test_no_acknowledged_event_is_lost_by_kill_9(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    acknowledged: set[int] = set()
    for kill in range(4):
        command = [sys.executable, "-c", WRITER, url, str(kill * 10**6)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(5 + 3 * kill):
            acknowledged.add(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in process.stdout.read().split()}
        process.wait()
        process.stdout.close()
    stored = [row.event_id.split("-") for _, row in FeedbackStore(url, "toy").after(0, ["click"], 10**6)]
    batches = [int(number) for number, _ in stored]
    assert acknowledged <= set(batches)
    assert all(batches.count(number) == 20 for number in set(batches))  # whole batches
