"""The terminal output of `tradewind`: the running platform, its status, its versions."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import dagster as dg
import httpx
from rich.console import Console
from rich.table import Table

from monitoring.alerts.listing import recent_alerts
from orchestration.jobs import PARTITION_TAG
from orchestration.launcher import platform_state
from orchestration.launcher.runs import RunFailedError
from orchestration.launcher.services import ensure_ports, services
from orchestration.launcher.supervisor import Supervisor
from orchestration.settings import Settings
from recommenders.evaluation.statistics.report_values import Cell
from recommenders.metrics.ranking import PRIMARY_METRIC
from serving.champion.pointer import Pointer, read_pointer
from serving.release.gate import GateRecord
from serving.release.registry import Registry
from serving.release.versions import Version

READY_S = 120.0
POLL_S = 1.0


@dataclass(frozen=True)
class VersionRow:
    """One version as `tradewind release list` shows it. aliases: also other marks. created: ISO 8601, UTC.

    primary_metric: [value, low, high] of its recipe. promoted: whether it passed the gate, None if it was not
    evaluated by it.
    """

    version: int
    model: str
    aliases: list[str]
    created: str
    primary_metric: Cell | None
    promoted: bool | None
    reasons: list[str]
    data_version: str | None

    def to_json(self) -> dict[str, Any]:
        """The row ready for JSON, where the metric has its own name."""
        return {PRIMARY_METRIC if name == "primary_metric" else name: value for name, value in vars(self).items()}


class ChampionStatus(TypedDict):
    """The version that serves. since: ISO 8601, UTC."""

    model: str
    version: int
    since: str
    pinned: bool


class RunStatus(TypedDict):
    """One run of Dagster."""

    job: str
    status: str
    dataset: str | None
    cause: str | None


class Status(TypedDict):
    """The platform as `tradewind status` shows it. services: name -> whether it answers. alerts: titles."""

    dataset: str
    champion: ChampionStatus | None
    services: dict[str, bool]
    runs: list[RunStatus]
    alerts: list[str]


def run_platform(settings: Settings, once: bool, echo: Callable[[str], None]) -> None:
    """Starts everything, updates the champion, tests it, prints the results; serves until Ctrl-C unless `once`."""
    started = time.perf_counter()
    settings.workspace.mkdir(parents=True, exist_ok=True)
    with platform_state.lock_home(settings):
        ensure_ports(settings)  # after the lock: a second run must report the lock, not a port of the first run
        settings.remember_dataset("run")
        registry = Registry(settings)
        registry.prepare()
        for line in registry.reconcile(settings.dataset):
            echo(f"Repaired: {line}")
        with Supervisor(services(settings)) as group:
            group.start()
            echo(f"Tradewind on {settings.dataset}. See it in Dagster: {settings.urls['dagster']} (ready in a moment)")
            if not once and platform_state.release_quick_model(settings):
                serve_first(settings, group, started, echo)
            seconds = platform_state.bring_up_to_date(settings)
            if not seconds:
                echo("The champion is trained on this data and configuration already; nothing to train.")
            waiting = time.perf_counter()
            group.wait_ready(READY_S)
            platform_state.await_champion(settings, platform_state.live_pointer(settings).version)
            seconds["services"] = time.perf_counter() - waiting
            answer = platform_state.smoke_test(settings)
            print_results(settings, answer)
            seconds["total"] = time.perf_counter() - started
            echo(next_steps(settings, once))
            if once:
                print(json.dumps(summary(settings, answer, seconds)), flush=True)
                return
            serve(group, echo)


def serve_first(settings: Settings, group: Supervisor, started: float, echo: Callable[[str], None]) -> None:
    """Waits until the service answers with the first champion; prints how to ask it while all models are fitted."""
    pointer = platform_state.live_pointer(settings)
    group.wait_ready(READY_S)
    platform_state.await_champion(settings, pointer.version)
    platform_state.smoke_test(settings)
    echo(
        f"Answering after {time.perf_counter() - started:.0f} s with {pointer.model}, the best of the models that are "
        f"fitted in seconds:\n  {platform_state.curl_line(settings)}\n"
        "All models are fitted now; the best one takes over if it passes the gate."
    )


def serve(group: Supervisor, echo: Callable[[str], None]) -> None:
    """Watches the services; returns at Ctrl-C, raises RunFailedError if one stays down."""
    try:
        while True:
            if failures := group.poll():
                raise RunFailedError("; ".join(str(failure) for failure in failures))
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        echo("\nStopping ...")


def summary(settings: Settings, answer: platform_state.SmokeTestAnswer, seconds: dict[str, float]) -> dict[str, Any]:
    """The last line that `--once` prints, as a dict."""
    pointer, report = platform_state.live_pointer(settings), platform_state.last_report(settings)
    return {
        "dataset": settings.dataset,
        "champion": {"model": pointer.model, "version": pointer.version},
        "metrics": report.models,
        "criteria": platform_state.criteria_of(report, pointer.model, answer),
        "predict": {"status": answer.status, "items": answer.items, "milliseconds": answer.milliseconds},
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
    }


def print_results(settings: Settings, answer: platform_state.SmokeTestAnswer) -> None:
    """Prints the champion's results and the success criteria."""
    console = Console(stderr=True, highlight=False)
    pointer, report = platform_state.live_pointer(settings), platform_state.last_report(settings)
    console.print(f"\n[bold]{pointer.model}[/] version {pointer.version} serves {settings.dataset}")
    table = Table("criterion", "target", "reached", "ceiling")
    for row in platform_state.criteria_of(report, pointer.model, answer):
        table.add_row(row["metric"], *(_cell(row[key]) for key in ("target", "reached", "ceiling")))
    console.print(table)
    hint = f"The full report: tradewind evaluate --dataset {settings.dataset}"
    console.print(f"{report.protocol}; {report.n_users} users. {hint}\n", soft_wrap=True)


def next_steps(settings: Settings, once: bool) -> str:
    """The next steps: a request to the running service, or with `once` the command that keeps it running."""
    if once:
        return f"Done; the services stop now. To keep them running: tradewind run --dataset {settings.dataset}"
    pages = [f"  {name:<10} {url}" for name, url in start_pages(settings).items()]
    return "\n".join([*pages, f"\nTry it:\n  {platform_state.curl_line(settings)}\n", "Serving until Ctrl-C."])


def start_pages(settings: Settings) -> dict[str, str]:
    """The page of each service at which to start; MLflow's has the runs of the data set."""
    own = {
        "service": f"{settings.urls['service']}/docs",
        "mlflow": Registry(settings).experiment_url(settings.dataset),
        "metrics": f"{settings.urls['metrics']}/metrics",
    }
    return settings.urls | own


def status_of(settings: Settings) -> Status:
    """The champion, the last runs, the services that answer, and the last alerts."""
    pointer = read_pointer(settings.pointer)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        runs: list[RunStatus] = [
            {
                "job": r.job_name,
                "status": r.status.value,
                "dataset": r.tags.get(PARTITION_TAG),
                "cause": r.tags.get("cause"),
            }
            for r in instance.get_runs(limit=5)
        ]
    return {
        "dataset": settings.dataset,
        "champion": None
        if pointer is None
        else {
            "model": pointer.model,
            "version": pointer.version,
            "since": pointer.promoted_at,
            "pinned": pointer.pinned,
        },
        "services": {name: _is_up(url) for name, url in settings.urls.items()},
        "runs": runs,
        "alerts": [alert.title for alert in recent_alerts(settings.alerts.outbox, 5)],
    }


def print_status(found: Status) -> None:
    """Prints the status for people."""
    champion = found["champion"]
    print(f"data set   {found['dataset']}")
    print(
        f"champion   {champion['model']} version {champion['version']} since {champion['since']}"
        f"{', pinned' if champion['pinned'] else ''}"
        if champion
        else "champion   none yet; start with: tradewind run"
    )
    for name, up in found["services"].items():
        print(f"{name:<10} {'answers' if up else 'does not answer'}")
    for run in found["runs"]:
        print(f"run        {run['status']:<9} {run['job']} on {run['dataset']} ({run['cause']})")
    for title in found["alerts"]:
        print(f"alert      {title}")


def versions_of(settings: Settings) -> list[VersionRow]:
    """All versions of the data set, newest first."""
    rows = []
    registry = Registry(settings)
    live = registry.pointer(settings.dataset)
    for version in registry.versions(settings.dataset):
        record = version.gate_record or GateRecord()
        rows.append(
            VersionRow(
                version=version.number,
                model=version.model,
                aliases=[*version.aliases, *_marks(version, live)],
                created=version.created.isoformat(timespec="seconds"),
                primary_metric=version.evaluation.get(PRIMARY_METRIC),
                promoted=record.get("promote"),
                reasons=record.get("reasons", []),
                data_version=version.data_version or None,
            )
        )
    return rows


def _marks(version: Version, live: Pointer | None) -> list[str]:
    """The marks of a version in addition to its aliases: pinned, rolled back, pruned."""
    pinned = live is not None and live.pinned and live.version == version.number
    marks = {"pinned": pinned, "rolled back": version.rolled_back_at, "pruned": version.pruned_at}
    return [mark for mark, applies in marks.items() if applies]


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, follow_redirects=True).status_code < 500
    except httpx.HTTPError:
        return False


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
