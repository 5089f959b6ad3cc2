"""`tradewind run`: services up, champion current, one request answered, and a summary of it all."""

import json
import shlex
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from orchestration.assets.source import fingerprint, held
from orchestration.launcher.runs import PID_TAG, RunFailedError, materialise, this_process
from orchestration.settings import Settings
from recommenders.errors import BundleError
from recommenders.evaluation.report import Report
from recommenders.evaluation.writers.report_folder import load_report
from recommenders.storage.bundle import read_manifest
from recommenders.storage.locks import locked
from recommenders.training.fitting import DECLINED, Declined
from serving.pointer import Pointer, read_pointer
from serving.release.registry import Registry
from serving.release.versions import RECORD_TAG
from serving.requests import LONGEST_ID, as_sent

N_REQUESTS = 20  # of which the median is told


@dataclass(frozen=True)
class Answer:
    """What /predict said: HTTP status, number of items, median milliseconds of N_REQUESTS requests."""

    status: int
    items: int
    milliseconds: float


def check_source(settings: Settings) -> None:
    """Raises DataError at once if the data set's files are not where they should be."""
    spec = settings.spec
    if not held(settings) and (not spec.generator or settings.source):
        spec.locate(settings.source_of(spec))


def is_current(settings: Settings) -> bool:
    """Whether a champion serves, all that goes with it is there, and the newest version knows present data and recipe.

    A version that the gate has not judged is the rest of a run that was cut off.
    """
    versions = Registry(settings).versions(settings.dataset)
    there = report_folder(settings).exists() and lists_file(settings).exists()
    if not there or read_pointer(settings.pointer) is None or not versions or RECORD_TAG not in versions[0].tags:
        return False
    return origin(versions[0].tags) == present(settings) and not may_use_more_memory(settings)


def is_trained(settings: Settings) -> bool:
    """Whether all models in the lake come from the present data and configuration."""
    folder = settings.lake / settings.dataset
    try:
        found = [provenance_of(folder / name) for name in settings.training.enabled()]
    except BundleError:
        return False
    wanted = present(settings)
    return all(origin(provenance) == wanted for provenance in found) and not may_use_more_memory(settings)


def may_use_more_memory(settings: Settings) -> bool:
    """Whether a model that was too large for its limit of memory has a higher one now; no recipe holds limits."""
    for name in settings.training.enabled():
        folder = settings.lake / settings.dataset / name
        if (folder / DECLINED).exists():
            limit = Declined.load(folder).provenance.get("max_memory_mb")
            if limit is not None and settings.training.of(name).max_memory_mb > float(limit):
                return True
    return False


def provenance_of(folder: Path) -> dict[str, str]:
    """Where a model in the lake comes from, or one that declined. Raises BundleError if there is neither."""
    if (folder / DECLINED).exists():
        return Declined.load(folder).provenance
    found: dict[str, str] = read_manifest(folder)["provenance"]
    return found


def origin(known: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Which data and which recipe a version or a bundle comes from."""
    return known.get("data_version"), known.get("recipe")


def present(settings: Settings) -> tuple[str | None, str | None]:
    """The data and the recipe there are now."""
    return fingerprint(settings)["version"], settings.training.recipe()


def bring_up_to_date(settings: Settings) -> dict[str, float]:
    """Materialises everything if data or configuration changed since the newest version; returns seconds a step."""
    seconds = {} if is_current(settings) else materialise(settings).seconds
    settings.remember_source()
    return seconds


def live(settings: Settings) -> Pointer:
    """The champion that serves. Raises RunFailedError where there is none."""
    pointer = read_pointer(settings.pointer)
    if pointer is None:
        raise RunFailedError(f"{settings.dataset} has no champion yet; see the last run at {settings.urls['dagster']}")
    return pointer


def report_folder(settings: Settings) -> Path:
    """Where the last evaluation report lies."""
    return settings.lake / settings.dataset / "evaluation_report"


def lists_file(settings: Settings) -> Path:
    """Where the lists for everyone lie."""
    return settings.lake / settings.dataset / "batch_recommendations.parquet"


def report(settings: Settings) -> Report:
    """The last evaluation report, against the targets that are configured now."""
    return load_report(report_folder(settings)).against(settings.training.evaluation)


def example_request(settings: Settings) -> dict[str, Any]:
    """A request about the first known user of the batch lists, the id as it is written in the data.

    Raises RunFailedError where there is no list to ask about.
    """
    user_ids = pq.read_table(lists_file(settings), columns=["user_id"])["user_id"]
    user_ids = user_ids.filter(pc.less_equal(pc.utf8_length(user_ids), LONGEST_ID))
    if not len(user_ids):
        raise RunFailedError(
            f"{settings.dataset} has no list to show: no item of the catalogue is on sale today, or no user id is "
            f"short enough for /predict ({LONGEST_ID} characters); see the items' available_from and available_until"
        )
    return {"user_id": as_sent(user_ids[0].as_py(), numbers=True), "history": [], "n_recommendations": 10}


def await_champion(settings: Settings, version: int, timeout: float = 60.0) -> None:
    """Waits until the service answers with that version. Raises RunFailedError with what it said instead."""
    deadline = time.monotonic() + timeout
    said: Any = "nothing"
    while time.monotonic() < deadline:
        try:
            said = httpx.get(f"{settings.urls['service']}/health", timeout=5).json()
            if said.get("version") == version:
                return
        except httpx.HTTPError as error:
            said = repr(error)
        time.sleep(0.2)
    raise RunFailedError(f"the service does not serve version {version} after {timeout:.0f} s; /health said {said}")


def ask(settings: Settings) -> Answer:
    """Asks /predict over HTTP, as a client would. Raises RunFailedError if a request is refused."""
    request, times = example_request(settings), []
    with httpx.Client(base_url=settings.urls["service"], timeout=10) as client:
        for _ in range(N_REQUESTS):
            started = time.perf_counter()
            response = client.post("/predict", json=request)
            times.append((time.perf_counter() - started) * 1000)
            if response.status_code != 200:  # the time of a refusal says nothing about the time of an answer
                raise RunFailedError(
                    f"/predict answered {response.status_code} to {json.dumps(request)}: {response.text[:300]}; "
                    f"see {settings.logs / 'service.log'}"
                )
    return Answer(response.status_code, len(response.json()["items"]), round(statistics.median(times), 3))


def criteria_of(report: Report, model: str, answer: Answer) -> list[dict[str, Any]]:
    """The success criteria of the champion's recipe, with the response time as a client measured it."""
    rows = report.criteria(model)
    for row in rows:
        if row["metric"] == "response_ms":
            row |= {"reached": answer.milliseconds, "protocol": f"median of {N_REQUESTS} requests over HTTP"}
    return rows


def curl_line(settings: Settings) -> str:
    """A line to try in a shell."""
    body = shlex.quote(json.dumps(example_request(settings), ensure_ascii=False))
    return f"curl -s {settings.urls['service']}/predict -H 'Content-Type: application/json' -d {body}"


def alive(tag: str) -> bool:
    """Whether the process that a run's tag names (see runs.this_process) still lives."""
    pid, _, _ = tag.partition("@")
    return pid.isdecimal() and psutil.pid_exists(int(pid)) and this_process(int(pid)) == tag


@contextmanager
def sole_owner(settings: Settings) -> Iterator[None]:
    """Holds the home for one `tradewind run`; runs that an earlier one left unfinished are ended in Dagster's books.

    Otherwise the queue, which lets one run through at a time, would wait for them for ever.
    """
    home = settings.home
    busy = f"another `tradewind run` holds {home}; stop it or set TRADEWIND_HOME to another folder"
    with locked(home / ".run.lock", busy):
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            for run in instance.get_runs(dg.RunsFilter(statuses=list(IN_PROGRESS_RUN_STATUSES))):
                if not alive(run.tags.get(PID_TAG, "")):
                    instance.report_run_canceled(run, "the process that ran it is gone")
        yield
