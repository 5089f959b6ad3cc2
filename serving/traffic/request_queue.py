"""The queue of requests that wait for the processor. It is kept short: a request that would wait too long is refused.

A list is computed on the event loop, and while it is, the loop reads no request. So requests would wait where they
cannot be counted: in the buffers of their sockets, and among the tasks of the loop. Therefore lists are computed in
rounds. After the lists of a round, mostly one, the event loop reads what has arrived and sends what is ready. A request
that has to wait does so in this queue, and a refusal is sent after a few rounds. What a request waits before it reaches
the queue is about one round; it is not counted.

How long a request may wait follows CoDel, in the form for servers (Maurer, Fail at Scale, ACM Queue 2015): a burst may
fill the queue, but if the queue has not been empty for a while, the load is above the capacity, and a longer queue
would only delay all answers.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from serving.traffic.metrics.queue_figures import QueueFigures
from serving.web.answers import DeadlineError, UnavailableError

BURST_SECONDS = 0.08  # that a request may wait if the queue was empty a short time ago
STANDING_SECONDS = 0.05  # that a request may wait otherwise
INTERVAL_SECONDS = 0.2  # after which a queue that was never empty is a standing queue
ROUND_SECONDS = 0.01  # that the lists of a round may take together, if they are more than one
SMOOTHING = 0.1  # weight of the newest round in the means

Result = TypeVar("Result")


class RequestQueue:
    """The queue of one event loop."""

    def __init__(self, figures: QueueFigures, clock: Callable[[], float] = time.monotonic) -> None:
        self._figures, self._clock = figures, clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_busy = False  # from the start of a round to the end of the loop's work after it
        self._began, self._worked = 0.0, 0.0  # of the present round: its time, and the seconds of its lists
        self._n_to_do, self._n_done = 0, 0  # lists of the present round
        self._list_seconds = 0.0  # mean of a list alone
        self._turn_seconds = 0.0  # mean of a list with its part of the loop's work: a queue of n takes n times as long
        self._empty_at = clock()  # when the queue was last empty

    async def run(self, work: Callable[[], Result], seconds: float, admitted: bool = False) -> Result:
        """The result of work(), which is called when it is this request's turn. seconds: from now to the deadline.

        admitted: the request has had a turn before, so it is not refused now.

        Raises UnavailableError at once if the queue is too long, and DeadlineError, without calling work(), if the
        turn comes after the deadline.
        """
        arrived = self._clock()
        if self._is_busy:
            if not admitted:
                self._refuse_if_too_long(arrived)
            await self._wait()
        else:
            self._is_busy, self._n_to_do = True, 1
            self._began = self._empty_at = arrived
        start = self._clock()
        try:
            self._figures.record_turn(start - arrived)
            if start - arrived > seconds:
                raise DeadlineError(
                    f"the request waited longer than its deadline of {seconds * 1000:.0f} ms and was not answered; "
                    "try again later"
                )
            self._n_done += 1
            return work()
        finally:
            self._worked += self._clock() - start
            self._one_less()

    def _refuse_if_too_long(self, now: float) -> None:
        if not self._waiting:
            self._empty_at = now
        allowed = BURST_SECONDS if now - self._empty_at < INTERVAL_SECONDS else STANDING_SECONDS
        if len(self._waiting) * self._turn_seconds > allowed:
            self._figures.record_refusal()
            raise UnavailableError("more requests arrive than can be answered; try again later")

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._figures.record_waiting(1)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its round has begun
                self._one_less()
            raise
        finally:
            self._figures.record_waiting(-1)

    def _one_less(self) -> None:
        """Ends the round after its last list, when the event loop has read and sent."""
        self._n_to_do -= 1
        if not self._n_to_do:
            asyncio.get_running_loop().call_soon(self._end_round)

    def _end_round(self) -> None:
        now = self._clock()
        n_lists = 1
        if self._n_done:
            round_seconds = now - self._began
            weight = SMOOTHING if self._turn_seconds else 1.0
            self._turn_seconds += weight * (round_seconds / self._n_done - self._turn_seconds)
            self._list_seconds += weight * (self._worked / self._n_done - self._list_seconds)
            # lists get about as much time as all other work, so that many refusals cannot displace them
            n_lists += int(min(round_seconds - self._worked, ROUND_SECONDS) / max(self._list_seconds, 1e-6))
        self._n_done, self._worked, self._began = 0, 0.0, now
        self._start_round(n_lists)

    def _start_round(self, n_lists: int) -> None:
        while self._waiting and self._n_to_do < n_lists:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                self._n_to_do += 1
        self._is_busy = self._n_to_do > 0
