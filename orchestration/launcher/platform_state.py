"""The state of the platform for `tradewind run`: is the champion up to date, and does the service answer?"""

import json
import os
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
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.jobs import STARTED
from orchestration.launcher.runs import RunFailedError, materialise, upstream
from orchestration.resources import Dataset
from orchestration.run_process import PID_TAG, is_alive
from orchestration.settings import Settings
from recommenders.errors import BundleError
from recommenders.evaluation.report import Report
from recommenders.evaluation.writers.report_folder import load_report
from recommenders.storage.bundle import read_manifest
from recommenders.storage.locks import locked
from recommenders.training.fitting import SKIPPED, SkippedModel
from serving.champion.pointer import Pointer, read_pointer
from serving.release.registry import Registry
from serving.web.predict_request import MAX_ID_LENGTH, as_sent

N_REQUESTS = 20  # the smoke test reports their median


@dataclass(frozen=True)
class SmokeTestAnswer:
    """The answer of /predict: HTTP status, number of items, median milliseconds of N_REQUESTS requests."""

    status: int
    items: int
    milliseconds: float


def check_source(settings: Settings) -> None:
    """Raises DataError at once if the data set's files do not exist."""
    dataset = Dataset(settings)
    if not dataset.restored_version() and (not dataset.spec.generator or settings.source):
        dataset.spec.locate(dataset.source)


def is_current(settings: Settings) -> bool:
    """Whether a champion serves, its report and lists exist, and the newest version has the present data and recipe.

    A version without a gate record is left from an interrupted run; it is not current.
    """
    versions = Registry(settings).versions(settings.dataset)
    complete = report_folder(settings).exists() and lists_file(settings).exists()
    if not complete or read_pointer(settings.pointer) is None or not versions or versions[0].gate_record is None:
        return False
    newest = versions[0].data_version, versions[0].recipe
    return newest == present_origin(settings) and not may_use_more_memory(settings)


def is_trained(settings: Settings) -> bool:
    """Whether all models in the lake are from the present data and configuration."""
    folder = settings.lake / settings.dataset
    try:
        found = [provenance_of(folder / name) for name in settings.training.enabled()]
    except BundleError:
        return False
    expected = present_origin(settings)
    return all(origin(provenance) == expected for provenance in found) and not may_use_more_memory(settings)


def may_use_more_memory(settings: Settings) -> bool:
    """Whether a model that was too large has a higher memory limit now; the recipe does not contain the limits."""
    for name in settings.training.enabled():
        folder = settings.lake / settings.dataset / name
        if (folder / SKIPPED).exists():
            limit = SkippedModel.load(folder).provenance.get("max_memory_mb")
            if limit is not None and settings.training.fit.max_memory_mb > float(limit):
                return True
    return False


def provenance_of(folder: Path) -> dict[str, str]:
    """The provenance of a fitted or skipped model in the lake. Raises BundleError if there is neither."""
    if (folder / SKIPPED).exists():
        return SkippedModel.load(folder).provenance
    found: dict[str, str] = read_manifest(folder)["provenance"]
    return found


def origin(provenance: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The data version and the recipe of a bundle."""
    return provenance.get("data_version"), provenance.get("recipe")


def present_origin(settings: Settings) -> tuple[str | None, str | None]:
    """The present data version and recipe."""
    return Dataset(settings).data_version(), settings.training.recipe()


def release_quick_model(settings: Settings) -> dict[str, float]:
    """If nothing is served yet, makes a champion of the models that are fitted in seconds; returns seconds per step.

    It serves while bring_up_to_date() fits all models. Empty if there is a champion, or if there are no other models.
    """
    quick = settings.training.quick()
    if quick is None or read_pointer(settings.pointer) is not None:
        return {}
    assets = upstream(settings, "champion", "served_catalogue", "batch_recommendations", training=quick)
    return materialise(settings, assets, "first champion", training=quick).seconds


def bring_up_to_date(settings: Settings) -> dict[str, float]:
    """Materialises everything if data or configuration changed since the newest version; returns seconds per step."""
    seconds = {} if is_current(settings) else materialise(settings).seconds
    settings.remember_source()
    return seconds


def live_pointer(settings: Settings) -> Pointer:
    """The pointer to the champion that serves. Raises RunFailedError if there is none."""
    pointer = read_pointer(settings.pointer)
    if pointer is None:
        raise RunFailedError(f"{settings.dataset} has no champion yet; see the last run at {settings.urls['dagster']}")
    return pointer


def report_folder(settings: Settings) -> Path:
    """The folder of the last evaluation report."""
    return settings.lake / settings.dataset / "evaluation_report"


def lists_file(settings: Settings) -> Path:
    """The file of the batch recommendations."""
    return settings.lake / settings.dataset / "batch_recommendations.parquet"


def last_report(settings: Settings) -> Report:
    """The last evaluation report, compared with the targets of the present configuration."""
    return load_report(report_folder(settings)).with_targets(settings.training.evaluation)


def example_request(settings: Settings) -> dict[str, Any]:
    """A request for the first known user of the batch lists, with the id as written in the data.

    Raises RunFailedError if there is no list.
    """
    user_ids = pq.read_table(lists_file(settings), columns=["user_id"])["user_id"]
    user_ids = user_ids.filter(pc.less_equal(pc.utf8_length(user_ids), MAX_ID_LENGTH))
    if not len(user_ids):
        raise RunFailedError(
            f"{settings.dataset} has no list to show: no item of the catalogue is on sale today, or no user id is "
            f"short enough for /predict ({MAX_ID_LENGTH} characters); see the items' available_from and available_until"
        )
    return {"user_id": as_sent(user_ids[0].as_py(), numbers=True), "history": [], "n_recommendations": 10}


def await_champion(settings: Settings, version: int, timeout: float = 60.0) -> None:
    """Waits until the service answers with that version. Raises RunFailedError with its last answer."""
    deadline = time.monotonic() + timeout
    last_answer: Any = "nothing"
    while time.monotonic() < deadline:
        try:
            last_answer = httpx.get(f"{settings.urls['service']}/health", timeout=5).json()
            if last_answer.get("version") == version:
                return
        except httpx.HTTPError as error:
            last_answer = repr(error)
        time.sleep(0.2)
    raise RunFailedError(
        f"the service does not serve version {version} after {timeout:.0f} s; /health answered {last_answer}"
    )


def smoke_test(settings: Settings) -> SmokeTestAnswer:
    """Sends requests to /predict over HTTP, as a client does. Raises RunFailedError if a request is refused."""
    request, times = example_request(settings), []
    with httpx.Client(base_url=settings.urls["service"], timeout=10, headers=_authorization()) as client:
        for _ in range(N_REQUESTS):
            started = time.perf_counter()
            response = client.post("/predict", json=request)
            times.append((time.perf_counter() - started) * 1000)
            if response.status_code != 200:  # the time of a refusal is not the time of an answer
                raise RunFailedError(
                    f"/predict answered {response.status_code} to {json.dumps(request)}: {response.text[:300]}; "
                    f"see {settings.logs / 'service.log'}"
                )
    return SmokeTestAnswer(response.status_code, len(response.json()["items"]), round(statistics.median(times), 3))


def _authorization() -> dict[str, str]:
    """The header with the key in TRADEWIND_API_KEY; the settings have only the file of hashes."""
    key = os.environ.get("TRADEWIND_API_KEY")
    return {"authorization": f"Bearer {key}"} if key else {}


def criteria_of(report: Report, model: str, answer: SmokeTestAnswer) -> list[dict[str, Any]]:
    """The success criteria of the champion's recipe, with the response time that a client measured."""
    rows = report.criteria(model)
    for row in rows:
        if row["metric"] == "response_ms":
            row |= {"reached": answer.milliseconds, "protocol": f"median of {N_REQUESTS} requests over HTTP"}
    return rows


def curl_line(settings: Settings) -> str:
    """A shell command with an example request."""
    body = shlex.quote(json.dumps(example_request(settings), ensure_ascii=False))
    key = '-H "Authorization: Bearer $TRADEWIND_API_KEY" ' if settings.api_keys_file else ""
    return f"curl -s {settings.urls['service']}/predict {key}-H 'Content-Type: application/json' -d {body}"


@contextmanager
def lock_home(settings: Settings) -> Iterator[None]:
    """Locks the home for one `tradewind run`; marks runs that an earlier one left unfinished as cancelled in Dagster.

    Otherwise Dagster's queue, which starts one run at a time, would wait for them for ever.
    """
    home = settings.home
    busy = f"another `tradewind run` holds {home}; stop it or set TRADEWIND_HOME to another folder"
    with locked(home / ".run.lock", busy):
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
            for run in instance.get_runs(dg.RunsFilter(statuses=STARTED)):
                if not is_alive(run.tags.get(PID_TAG, "")):
                    instance.report_run_canceled(run, "the process that ran it is gone")
        yield
