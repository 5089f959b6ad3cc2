"""The queue of requests: its order, its length, deadlines, and requests that go away. The clock is the test's own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serving.traffic.metrics.counters import Metrics
from serving.traffic.request_queue import BURST_SECONDS, INTERVAL_SECONDS, STANDING_SECONDS, RequestQueue
from serving.web.answers import DeadlineError, UnavailableError

WORK = 2**-9  # seconds of one turn; sums of it are exact
START = 1024.0  # a clock may begin anywhere


class Load:
    """A queue, and requests that each need WORK seconds of the test's clock."""

    def __init__(self) -> None:
        self.now, self.worked = START, list[Any]()
        self.metrics = Metrics()
        self.queue = RequestQueue(self.metrics.queue, lambda: self.now)

    def request(self, name: Any, seconds: float = 1.0, admitted: bool = False) -> Awaitable[Any]:
        def work() -> Any:
            self.now += WORK
            self.worked.append(name)
            return name

        return self.queue.run(work, seconds, admitted)

    async def all(self, requests: list[Awaitable[Any]]) -> list[Any]:
        return await asyncio.gather(*requests, return_exceptions=True)


def run(test: Callable[[Load], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(Load()), 20))  # where a request would wait for ever


def test_requests_are_served_in_their_order_and_the_loop_goes_on_between_them():
    async def test(load: Load) -> None:
        rounds: list[int] = []

        async def other() -> None:
            while len(load.worked) < 5:
                rounds.append(len(load.worked))
                await asyncio.sleep(0)

        results, _ = await asyncio.gather(load.all([load.request(n) for n in range(5)]), other())
        assert results == load.worked == list(range(5))
        assert {1, 2, 3, 4} <= set(rounds)

    run(test)


def test_an_idle_queue_adds_no_round_of_the_loop():
    async def test(load: Load) -> None:
        with pytest.raises(StopIteration, match="one"):
            load.request("one").send(None)  # type: ignore[attr-defined]

    run(test)


def test_a_burst_waits_up_to_its_limit_and_the_rest_is_refused_without_work():
    async def test(load: Load) -> None:
        await load.request("first")  # so that the duration of a turn is known
        await asyncio.sleep(0)
        results = await load.all([load.request(n) for n in range(200)])
        n_admitted = int(BURST_SECONDS / WORK) + 2  # the one that runs, those within the limit, and one above it
        assert results[:n_admitted] == list(range(n_admitted))
        assert all(isinstance(result, UnavailableError) for result in results[n_admitted:])
        assert load.worked == ["first", *range(n_admitted)]
        assert await load.request("after") == "after"  # the capacity is back at once

    run(test)


def test_a_request_that_was_admitted_is_not_refused_at_its_next_turn():
    async def test(load: Load) -> None:
        await load.request("first")  # so that the duration of a turn is known
        await asyncio.sleep(0)
        results = await load.all([*(load.request(n) for n in range(200)), load.request("next", admitted=True)])
        assert isinstance(results[199], UnavailableError)
        assert results[-1] == load.worked[-1] == "next"

    run(test)


def test_under_a_load_above_the_capacity_the_queue_gets_short():
    async def test(load: Load) -> None:
        waits: list[tuple[float, float]] = []

        async def one(name: int) -> None:
            arrived = load.now
            await load.request(name)
            waits.append((arrived, load.now - arrived))

        tasks = []
        for turn in range(500):  # two requests for each turn
            tasks += [asyncio.ensure_future(one(2 * turn + n)) for n in range(2)]
            while len(load.worked) <= turn:
                await asyncio.sleep(0)
        results = await load.all(tasks)
        late = [wait for arrived, wait in waits if arrived > START + INTERVAL_SECONDS + BURST_SECONDS]
        assert len(late) > 200
        assert max(late) < STANDING_SECONDS + 4 * WORK < BURST_SECONDS
        n_refused = sum(isinstance(result, UnavailableError) for result in results)
        assert len(load.worked) + n_refused == 1000
        assert len(load.worked) >= 500  # the processor was never idle

    run(test)


def test_other_work_of_the_loop_does_not_displace_the_lists():
    async def test(load: Load) -> None:
        async def other() -> None:
            while len(load.worked) < 30:
                load.now += 2 * WORK
                await asyncio.sleep(0)

        await asyncio.gather(*(load.request(n, 60) for n in range(30)), other())
        assert load.worked == list(range(30))
        assert 0.35 * (load.now - START) < 30 * WORK

    run(test)


def test_after_its_deadline_a_request_is_refused_without_work():
    async def test(load: Load) -> None:
        deadlines = {"first": 1.0, "second": 1.0, "late": 0.001, "third": WORK, "late too": 0.003}
        results = await load.all([load.request(name, seconds) for name, seconds in deadlines.items()])
        assert load.worked == ["first", "second", "third"]
        for late in (results[2], results[4]):
            assert isinstance(late, DeadlineError)
        assert "its deadline of 1 ms" in str(results[2])

    run(test)


@pytest.mark.parametrize("rounds", range(6))
def test_a_request_that_goes_away_stops_no_other(rounds):
    async def test(load: Load) -> None:
        tasks = [asyncio.ensure_future(load.request(n)) for n in range(4)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        tasks[1].cancel()
        results = await load.all([*tasks, load.request("new")])
        assert [result for n, result in enumerate(results) if n != 1] == [0, 2, 3, "new"]
        assert await load.request("last") == "last"

    run(test)


def test_an_error_of_the_work_stops_no_other():
    async def test(load: Load) -> None:
        results = await load.all([load.queue.run(lambda: 1 / 0, 1), load.request("b")])
        assert isinstance(results[0], ZeroDivisionError)
        assert results[1] == "b"

    run(test)


def test_however_slow_a_turn_is_one_request_may_wait():
    async def test(load: Load) -> None:
        def slow() -> str:
            load.now += 10
            return "slow"

        await load.queue.run(slow, 60)
        await asyncio.sleep(0)
        results = await load.all([load.queue.run(slow, 60) for _ in range(3)])
        assert results[:2] == ["slow", "slow"]
        assert isinstance(results[2], UnavailableError)

    run(test)


def test_a_round_has_a_list_and_as_many_more_as_fit_in_the_time_of_all_other_work():
    async def lists_of_rounds(other_seconds: float) -> list[int]:
        load, found, n_before = Load(), [], 0

        async def other() -> None:
            nonlocal n_before
            while len(load.worked) < 40:
                if len(load.worked) > n_before:
                    found.append(len(load.worked) - n_before)
                    n_before = len(load.worked)
                    load.now += other_seconds
                await asyncio.sleep(0)

        await asyncio.gather(*(load.request(n, 60) for n in range(40)), other())
        return found

    async def test(_: Load) -> None:
        for n_more in range(8):
            first, *further = await lists_of_rounds(n_more * WORK)
            assert first == 1
            assert set(further) == {1 + min(n_more, 5)}  # more would take longer than ROUND_SECONDS

    run(test)


def test_one_slow_list_counts_a_tenth_of_the_expected_wait():
    async def test(load: Load) -> None:
        def slow() -> None:
            load.now += 11 * WORK

        for n in range(20):
            await load.request(n)
            await asyncio.sleep(0)
        await load.queue.run(slow, 60)
        await asyncio.sleep(0)
        results = await load.all([load.request(n) for n in range(200)])
        n_admitted = int(BURST_SECONDS / (2 * WORK)) + 2  # the mean of a turn is 0.9 * WORK + 0.1 * 11 * WORK
        assert [isinstance(result, UnavailableError) for result in results] == [n >= n_admitted for n in range(200)]

    run(test)


def test_in_a_round_of_several_lists_each_counts_its_part_of_the_round():
    async def test(load: Load) -> None:
        async def other() -> None:  # takes three times as long as a list: four lists take seven times as long as one
            n_before = 0
            while n_before < 401:
                load.now += 3 * WORK if len(load.worked) > n_before else 0
                n_before = len(load.worked)
                await asyncio.sleep(0)

        await asyncio.gather(*(load.request(n, 60) for n in range(401)), other())
        await asyncio.sleep(0)
        results = await load.all([load.request(n) for n in range(200)])
        n_admitted = int(BURST_SECONDS / (7 / 4 * WORK)) + 2
        assert [isinstance(result, UnavailableError) for result in results] == [n >= n_admitted for n in range(200)]

    run(test)


def test_lists_that_take_no_time_are_served():
    async def test(load: Load) -> None:
        assert await load.all([load.queue.run(lambda n=n: n, 1) for n in range(9)]) == list(range(9))

    run(test)


def test_a_deadline_is_named_in_milliseconds():
    async def test(load: Load) -> None:
        def slow() -> None:
            load.now += 10

        *_, late = await load.all([load.request("first"), load.queue.run(slow, 60), load.request("late", 2.0)])
        assert "its deadline of 2000 ms" in str(late)

    run(test)


def figures(load: Load) -> dict[str, float]:
    """Name of each series of the queue -> its value."""
    lines = [line for line in load.metrics.exposition().decode().splitlines() if line.startswith("tradewind_queue_")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_the_queue_counts_who_waits_how_long_and_who_is_refused():
    async def test(load: Load) -> None:
        tasks = [asyncio.ensure_future(load.request(n)) for n in range(4)]
        given_up = asyncio.ensure_future(load.request("given up"))
        await asyncio.sleep(0)
        given_up.cancel()
        assert figures(load)["tradewind_queue_requests"] == 4
        await load.all([*tasks, given_up])
        found = figures(load)
        assert found["tradewind_queue_requests"] == 0
        assert found["tradewind_queue_wait_seconds_count"] == 4
        # the first one has worked when the others arrive
        assert found["tradewind_queue_wait_seconds_sum"] == (0 + 0 + 1 + 2) * WORK
        assert found['tradewind_queue_wait_seconds_bucket{le="0.00025"}'] == 2
        assert found["tradewind_queue_refusals_total"] == 0
        results = await load.all([load.request(n) for n in range(200)])
        refused = sum(isinstance(result, UnavailableError) for result in results)
        assert 0 < refused == figures(load)["tradewind_queue_refusals_total"]

    run(test)
