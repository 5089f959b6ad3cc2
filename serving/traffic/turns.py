"""The queue of requests that wait for the processor. It is kept short: a request that would wait too long is refused.

A list is computed on the event loop, and while it is, the loop reads no request. So requests would wait where they
cannot be counted: in the buffers of their sockets, and among the tasks of the loop. Therefore a turn, which computes
one list, is followed by a round of the loop, which reads what has arrived and sends what is ready. A request that has
to wait does so in this queue, and a refusal is sent after a few turns. What a request waits before it reaches the queue
is about one turn; it is not counted.

How long a request may wait follows CoDel, in the form for servers (Maurer, Fail at Scale, ACM Queue 2015): a burst may
fill the queue, but if the queue has not been empty for a while, the load is above the capacity, and a longer queue
would only delay all answers.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from serving.web.answers import DeadlineError, UnavailableError

BURST_SECONDS = 0.1  # that a request may wait if the queue was empty a short time ago
STANDING_SECONDS = 0.02  # that a request may wait otherwise
INTERVAL_SECONDS = 0.1  # after which a queue that was never empty is a standing queue
SMOOTHING = 0.1  # weight of the newest turn in the mean duration of a turn

Result = TypeVar("Result")


class Turns:
    """The queue of one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_taken = False
        self._began = 0.0  # when the present turn did
        self._turn_seconds = 0.0  # mean duration of a turn with the round of the loop after it
        self._empty_at = clock()  # when the queue was last empty

    async def take(self, work: Callable[[], Result], seconds: float) -> Result:
        """The result of work(), which is called when it is this request's turn. seconds: from now to the deadline.

        Raises UnavailableError at once if the queue is too long, and DeadlineError, without calling work(), if the
        turn comes after the deadline.
        """
        arrived = self._clock()
        if self._is_taken:
            self._refuse_if_too_long(arrived)
            await self._wait()
        else:
            self._is_taken, self._empty_at = True, arrived
        loop, self._began = asyncio.get_running_loop(), self._clock()
        if self._began - arrived > seconds:
            loop.call_soon(self._next)
            raise DeadlineError(
                f"the request waited longer than its deadline of {seconds * 1000:.0f} ms and was not answered; "
                "try again later"
            )
        loop.call_soon(self._end)  # in the next round of the loop, also if work() raises
        return work()

    def _refuse_if_too_long(self, now: float) -> None:
        if not self._waiting:
            self._empty_at = now
        allowed = BURST_SECONDS if now - self._empty_at < INTERVAL_SECONDS else STANDING_SECONDS
        if len(self._waiting) * self._turn_seconds > allowed:
            raise UnavailableError("more requests arrive than can be answered; try again later")

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the turn began, but the request is not there any more to end it
                self._next()
            raise

    def _end(self) -> None:
        seconds = self._clock() - self._began
        self._turn_seconds += (SMOOTHING if self._turn_seconds else 1) * (seconds - self._turn_seconds)
        self._next()

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._is_taken = False
