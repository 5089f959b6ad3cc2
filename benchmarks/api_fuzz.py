"""Sends requests that Schemathesis makes from the OpenAPI document, and 10,000 unknown paths, to the real service.

    python benchmarks/api_fuzz.py [--examples 1200] [--quick] [--json]

The service serves hybrid_learned on custom_b2b with its catalogue. No answer may be a server error, take longer than a
second, or hold a stack trace or a path of this machine. Unknown paths must add no series to /metrics.
"""

import json
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
import pyarrow as pa
import pyarrow.compute as pc
from measuring import result_table
from measuring.benchmark_tasks import benchmark_task
from peers.environments import pinned, python_of
from service_drills import service
from service_load import release, worker_of

from recommenders.storage import schema
from serving.settings import PROJECT, ServingSettings
from serving.steering.catalogue.files import record_file, write
from serving.steering.catalogue.tables import item_attributes, user_attributes

N_PATHS = 10_000
TRACES = ("Traceback", 'File "', ".py", str(PROJECT), str(Path.home()))


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--examples", type=int, default=1200, help="requests of each operation, at most")
    options = parser.parse_args()
    started, rows = time.perf_counter(), []
    n_examples = 20 if options.quick else options.examples
    print(result_table.HEAD)
    with TemporaryDirectory() as folder:
        settings, _ = release(Path(folder), 0.1 if options.quick else 1.0)
        release_catalogue(settings, 0.1 if options.quick else 1.0)
        with service(settings) as (url, process):
            wait_for_catalogue(url)
            for line in fuzz(
                url, worker_of(process), n_examples, Path(folder) / "requests.har", 200 if options.quick else N_PATHS
            ):
                result_table.show(line)
                rows.append(line)
    whole = not options.quick and options.examples >= parser.get_default("examples")
    result_table.finish("api_fuzz", rows, started, options.as_json, {"schemathesis": pinned("schemathesis")}, whole)


def fuzz(url: str, worker: psutil.Process, n_examples: int, har: Path, n_paths: int) -> Iterator[dict[str, Any]]:
    """The rows about all requests that were sent."""
    before = worker.memory_info().rss
    answers = schemathesis(url, n_examples, har)
    statuses = Counter(answer["response"]["status"] for answer in answers)
    growth = (worker.memory_info().rss - before) / 2**20
    slowest = max(answer["time"] for answer in answers)
    unsafe = [text for answer in answers if (text := shows_internals(answer["response"]))]
    note = f"{len(answers):,} requests; by status {dict(sorted(statuses.items()))}"
    n_errors = sum(n for status, n in statuses.items() if status >= 500)
    yield result_table.row("server errors", "answers", n_errors, floor=0, lower_is_better=True, note=note)
    yield result_table.row("slowest answer", "ms", slowest, floor=1000, lower_is_better=True)
    yield result_table.row(
        "answers with a stack trace or a path", "answers", len(unsafe), floor=0, lower_is_better=True
    )
    yield result_table.row("growth of the worker's memory", "MiB", growth, floor=50, lower_is_better=True)
    before_paths = series(url)
    with httpx.Client(base_url=url, trust_env=False) as client:
        for _ in range(n_paths):
            client.get(f"/{secrets.token_hex(8)}")
    added = series(url) - before_paths
    what = f"series that {n_paths:,} unknown paths add to /metrics"
    yield result_table.row(what, "series", len(added), floor=0, lower_is_better=True, note=", ".join(sorted(added)[:3]))


def schemathesis(url: str, n_examples: int, har: Path) -> Sequence[dict[str, Any]]:
    """Every request and answer of one run. Schemathesis' own findings are printed."""
    command = [
        str(python_of("schemathesis").with_name("st")),
        "run",
        f"{url}/openapi.json",
        "--no-color",
        "--seed",
        "1",
    ]
    limits = ["--max-examples", str(n_examples), "--max-response-time", "1", "--continue-on-failure"]
    checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    ]
    report = ["--checks", ",".join(checks), "--report", "har", "--report-har-path", str(har)]
    done = subprocess.run([*command, *limits, *report], cwd=har.parent, capture_output=True, text=True, check=False)
    print("\n".join(f"    {line}" for line in done.stdout.partition("= FAILURES =")[2].splitlines()[:60]))
    entries: list[dict[str, Any]] = json.loads(har.read_text())["log"]["entries"]
    return entries


def shows_internals(response: dict[str, Any]) -> str:
    """What an answer shows of the code or the machine; empty if nothing. The document and its page may name files."""
    text = response["content"].get("text") or ""
    return next((one for one in TRACES if one in text), "") if response["status"] != 200 else ""


def series(url: str) -> set[str]:
    """The names and labels of all series of /metrics."""
    text = httpx.get(f"{url}/metrics", trust_env=False).raise_for_status().text
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def release_catalogue(settings: ServingSettings, scale: float, price_factor: float = 1.0) -> None:
    """The served catalogue of the items; there are no attributes of users. price_factor: for another version of it."""
    items = benchmark_task("custom_b2b", scale=scale).items
    prices = pc.multiply(items["price"], price_factor)
    items = items.set_column(items.column_names.index("price"), items.schema.field("price"), prices)
    users = schema.conform(pa.table({"user_id": pa.array([], pa.string())}), schema.USERS, "users")
    now = datetime.now(UTC)
    write(record_file(settings.pointer), item_attributes(items, {}, now), user_attributes(users, {}))


def wait_for_catalogue(url: str) -> None:
    """Returns when the service has loaded the catalogue."""
    for _ in range(100):
        if "catalogue" in httpx.get(f"{url}/health", trust_env=False).json():
            return
        time.sleep(0.1)
    raise SystemExit("the service does not load the catalogue")


if __name__ == "__main__":
    main()
