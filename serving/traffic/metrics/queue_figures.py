"""The figures of the queue of requests: who waits, how long, and who is refused."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class QueueFigures:
    """Those of one process. Threads may share it."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float]) -> None:
        """buckets: upper bounds in seconds, ascending."""
        self._waiting = Gauge(
            "tradewind_queue_requests",
            "Requests that wait for their turn.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._waited = Histogram(
            "tradewind_queue_wait_seconds",
            "Time that a request waited for its turn; 0 if the queue was empty.",
            registry=registry,
            buckets=buckets,
        )
        self._refused = Counter(
            "tradewind_queue_refusals", "Requests that were refused because the queue was too long.", registry=registry
        )

    def record_waiting(self, change: int) -> None:
        """Records that a request waits for its turn (1), or waits no more (-1)."""
        self._waiting.inc(change)

    def record_turn(self, waited: float) -> None:
        """Records the turn of a request, after so many seconds in the queue."""
        self._waited.observe(waited)

    def record_refusal(self) -> None:
        """Records a request that was refused because the queue was too long."""
        self._refused.inc()
