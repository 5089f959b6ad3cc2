"""The service while versions change, and under more load than it can answer. The clients have a core of their own.

    python benchmarks/service_stress.py [--only swaps overload] [--quick] [--json]

swaps: two versions take turns as the champion 200 times in a minute, under 32 connections; every answer is compared
with the list of the version that it names. overload: for 30 seconds twice as many lists are asked for as the model can
make.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from measuring import result_table
from measuring.service.http_client import Answer, Connection, closed_loop, open_loop, percentile
from service_drills import service
from service_load import LOAD_CORE, SERVER_CORE, release

from recommenders.models import all_models
from serving.champion.pointer import Pointer, fingerprint, read_pointer, write_pointer
from serving.lists.predictor import Predictor
from serving.lists.served_lists import ServedLists
from serving.settings import ServingSettings

N_CONNECTIONS = 32


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    result_table.run_parts("service_stress", __doc__, "--only", {"swaps": swaps, "overload": overload})


def swaps(quick: bool) -> Iterator[dict[str, Any]]:
    """Whatever version is replaced when, every answer is the list of the version that it names."""
    n_swaps, seconds = (10, 3.0) if quick else (200, 60.0)
    with TemporaryDirectory() as folder:
        settings, model = release(Path(folder), 0.1 if quick else 1.0)
        pointers = two_versions(settings)
        users = model.users_.ids.tolist()
        expected = {}
        for version, pointer in pointers.items():
            predictor = Predictor(pointer.bundle_folder(settings.pointer))
            expected |= {(version, user_id): predictor.predict(user_id, [], 10).item_ids for user_id in users}
        asked = [{"user_id": user_id} for user_id in users]
        with service(settings, SERVER_CORE) as (url, _), on_core(LOAD_CORE):
            port = httpx.URL(url).port or 0
            steady = asyncio.run(closed_loop(port, asked, N_CONNECTIONS, seconds / 3))

            async def swap_under_load() -> list[Answer]:
                load = asyncio.create_task(closed_loop(port, asked, N_CONNECTIONS, seconds))
                for number in range(n_swaps):
                    write_pointer(settings.pointer, pointers[2 - number % 2])
                    await asyncio.sleep(seconds / n_swaps)
                return await load

            answers = asyncio.run(swap_under_load())
    wrong, versions = 0, Counter[int]()
    for answer in answers:
        found = json.loads(answer.content)
        good = answer.status == 200 and expected[found["version"], found["user_id"]] == [
            item["item_id"] for item in found["items"]
        ]
        wrong += not good
        versions[found.get("version", 0)] += 1
    note = f"{len(answers):,} answers, by version {dict(versions)}; {n_swaps} swaps in {seconds:g} s"
    yield result_table.row(
        "wrong answers while versions change", "answers", wrong, floor=0, lower_is_better=True, note=note
    )
    ratio, steady_p99 = percentile(answers, 0.99) / percentile(steady, 0.99), percentile(steady, 0.99)
    note = f"{percentile(answers, 0.99):.1f} ms against {steady_p99:.1f} ms without swaps"
    yield result_table.row(
        "p99 while versions change, against none", "times", ratio, floor=2, lower_is_better=True, note=note
    )


def two_versions(settings: ServingSettings) -> dict[int, Pointer]:
    """The champion, and popularity as version 2 of the same data set."""
    first = read_pointer(settings.pointer)
    assert first is not None
    model = all_models.load(first.bundle_folder(settings.pointer))
    bundle = ServedLists(model).popularity.save(settings.champions / "custom_b2b" / "2")
    digest = fingerprint(bundle)
    second = replace(first, model="popularity", version=2, bundle="custom_b2b/2", bundle_sha256=digest)
    return {1: first, 2: second}


def overload(quick: bool) -> Iterator[dict[str, Any]]:
    """Twice as many lists by the model as the service can make: some are answered in time, the others refused soon."""
    seconds = 3.0 if quick else 30.0
    with TemporaryDirectory() as folder:
        settings, model = release(Path(folder), 0.1 if quick else 1.0)
        rng = random.Random(0)
        items = model.items_.ids.tolist()
        asked = [{"user_id": user_id, "history": rng.sample(items, 3)} for user_id in model.users_.ids.tolist()]
        with service(settings, SERVER_CORE) as (url, _), on_core(LOAD_CORE):
            port = httpx.URL(url).port or 0
            alone = asyncio.run(closed_loop(port, asked, 4, seconds / 3))
            capacity = len(alone) / (seconds / 3)

            async def overloaded() -> tuple[list[Answer], list[Answer]]:
                load = asyncio.create_task(open_loop(port, asked, 2 * capacity, seconds))
                connection, health = await Connection.open(port), list[Answer]()
                while not load.done():
                    health.append(await connection.get("/health"))
                    await asyncio.sleep(0.2)
                return await load, health

            answers, health = asyncio.run(overloaded())
            began = time.perf_counter()
            while (now := asyncio.run(closed_loop(port, asked, 1, 0.2)))[-1].status != 200:
                pass
            recovery = time.perf_counter() - began
    good, refused = ([one for one in answers if (one.status == 200) is wanted] for wanted in (True, False))
    share = len(good) / seconds / capacity
    note = f"{len(good) / seconds:.0f} of {capacity:.0f} lists a second"
    yield result_table.row("twice the capacity: lists made", "of the capacity", share, floor=0.8, note=note)
    for what, found, bound in (("lists", good, 100), ("refusals", refused, 20)):
        value = percentile(found, 0.99)
        note = f"{len(found):,} {what}; half within {percentile(found, 0.5):.1f} ms"
        yield result_table.row(f"p99 of {what}", "ms", value, floor=bound, lower_is_better=True, note=note)
    note = f"then {percentile(now, 0.5):.1f} ms for a list"
    yield result_table.row("normal again after", "seconds", recovery, floor=5, lower_is_better=True, note=note)
    failed = sum(one.status != 200 for one in health)
    note = f"{len(health)} requests, p99 {percentile(health, 0.99):.1f} ms"
    yield result_table.row(
        "/health that did not answer 200", "answers", failed, floor=0, lower_is_better=True, note=note
    )


@contextmanager
def on_core(core: str) -> Iterator[None]:
    """Runs this process on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(core)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    main()
