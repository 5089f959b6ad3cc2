"""An HTTP client for load: one connection per object, and requests at a given rate, over the plain asyncio streams.

httpx takes a millisecond for a request, which is more than the service takes.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import orjson


class Answer(NamedTuple):
    """An answer, its content and how long it took."""

    status: int
    content: bytes
    sent_at: float  # by perf_counter
    seconds: float


class Connection:
    """One connection to a server on this machine; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """A new connection."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, content: object) -> Answer:
        """Sends JSON."""
        body = orjson.dumps(content)
        head = f"POST {path} HTTP/1.1\r\nhost: service\r\ncontent-type: application/json\r\n"
        return await self._ask(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    async def get(self, path: str) -> Answer:
        """Asks for a path."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nhost: service\r\n\r\n".encode())

    async def _ask(self, request: bytes) -> Answer:
        began = time.perf_counter()
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        content = await self._reader.readexactly(length)
        return Answer(int(head[9:12]), content, began, time.perf_counter() - began)

    @property
    def is_open(self) -> bool:
        """Whether the server has not ended the connection, as it does after some idle seconds."""
        return not self._reader.at_eof()

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()


async def closed_loop(port: int, contents: Sequence[object], n_connections: int, seconds: float) -> list[Answer]:
    """Lists asked for over some connections, each of which sends its next request when it has an answer."""
    end, answers = time.perf_counter() + seconds, list[Answer]()

    async def client(number: int) -> None:
        connection, place = await Connection.open(port), number
        while time.perf_counter() < end:
            answers.append(await connection.post("/predict", contents[place % len(contents)]))
            place += n_connections
        connection.close()

    await asyncio.gather(*(client(number) for number in range(n_connections)))
    return answers


async def open_loop(port: int, contents: Sequence[object], per_second: float, seconds: float) -> list[Answer]:
    """Lists asked for at a rate, whatever the server answers. An idle connection is used again, or a new one opened."""
    idle, answers, tasks = list[Connection](), list[Answer](), list[asyncio.Task[None]]()

    async def send(content: object) -> None:
        while idle and not idle[-1].is_open:
            idle.pop().close()
        connection = idle.pop() if idle else await Connection.open(port)
        answers.append(await connection.post("/predict", content))
        idle.append(connection)

    began = time.perf_counter()
    for number in range(int(per_second * seconds)):
        wait = began + number / per_second - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(send(contents[number % len(contents)])))
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    return answers


def percentile(answers: Sequence[Answer], share: float) -> float:
    """Milliseconds within which a share of the answers came."""
    ordered = sorted(answer.seconds for answer in answers)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else float("nan")
