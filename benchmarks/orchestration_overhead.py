"""Measures the cost of Dagster: materialising the assets of custom_b2b in process, against calling their functions.

    python benchmarks/orchestration_overhead.py [--scale 1.0] [--json]

The direct calls pass each asset's value to the function of the next asset: no instance, no events, no storage between
steps. The cost of a run through the daemon (request -> queue -> process -> success) is printed too.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import httpx
import yaml
from measuring.result_table import save

from orchestration.definitions import definitions
from orchestration.jobs import RETRAINING
from orchestration.launcher.runs import materialise
from orchestration.launcher.supervisor import Service, Supervisor
from orchestration.settings import Settings
from serving.settings import PROJECT

GOAL = 1.25
LAUNCH = """mutation L($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) { __typename
 ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
STATUS = "query($i: ID!) { runOrError(runId: $i) { ... on Run { status } } }"


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--scale", type=float, default=1.0, help="size of the market")
    arguments.add_argument("--json", action="store_true", dest="as_json")
    options = arguments.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        materialise(make_home(root / "warm", 0.05))  # so that every library is imported before both measurements
        direct = seconds(lambda: call_directly(make_home(root / "plain", options.scale)))
        materialised = seconds(lambda: materialise(make_home(root / "managed", options.scale)))
        through_daemon = daemon_run(make_home(root / "daemon", options.scale))
    ratio = materialised / direct
    print(f"{'way':<44} {'seconds':>8} {'ratio':>6}")
    print(f"{'the functions called directly':<44} {direct:8.1f} {1:6.2f}")
    print(f"{'materialised in process, persistent instance':<44} {materialised:8.1f} {ratio:6.2f}  goal at most {GOAL}")
    print(f"{'a run through the daemon':<44} {through_daemon:8.1f} {through_daemon / direct:6.2f}")
    rows = [
        row("materialise all assets in process", materialised, direct, ratio, GOAL),
        row("run all assets through the daemon", through_daemon, direct, through_daemon / direct, None),
    ]
    result = {"name": "orchestration_overhead", "rows": rows, "versions": versions(), "hardware": hardware()}
    result |= {"seconds": round(time.perf_counter() - started, 1)}
    if options.scale == 1.0:
        save(result)
    if options.as_json:
        print(json.dumps(result))


def make_home(folder: Path, scale: float) -> Settings:
    """Settings of a new home folder, with the default configuration at the given scale."""
    folder.mkdir(parents=True)
    config = yaml.safe_load((PROJECT / "configs" / "training.yaml").read_text())
    config["data"]["scale"] = scale
    (folder / "training.yaml").write_text(yaml.safe_dump(config))
    return Settings.read(home=folder, config=folder / "training.yaml")


def call_directly(settings: Settings) -> None:
    """Calls the function of each asset with the values of the assets it depends on."""
    defs = definitions(settings)
    graph = defs.resolve_asset_graph()
    resources: dict[str, Any] = {"settings": settings}
    values: dict[str, Any] = {}
    for definition in in_order(defs, graph):
        function = definition.op.compute_fn.decorated_fn
        context = SimpleNamespace(
            partition_key=settings.dataset,
            add_output_metadata=lambda *_, **__: None,
            log=SimpleNamespace(warning=print),
        )
        inputs = {key.path[-1]: values[key.path[-1]] for key in definition.dependency_keys}
        needed = {name: resources[name] for name in definition.required_resource_keys & set(resources)}
        result = function(context, **needed, **inputs)
        if isinstance(result, Iterator):
            values |= {output.output_name: output.value for output in result}
        else:
            values[definition.key.path[-1]] = result


def in_order(defs: dg.Definitions, graph: Any) -> Iterator[dg.AssetsDefinition]:
    """The asset definitions, each after the assets it depends on."""
    seen: set[int] = set()
    for level in graph.toposorted_asset_keys_by_level:
        for key in sorted(level):
            definition = defs.resolve_assets_def(key)
            if id(definition.op) not in seen:
                seen.add(id(definition.op))
                yield definition


def daemon_run(settings: Settings) -> float:
    """Seconds from a GraphQL request to success, in a `dagster dev` that is already running."""
    port = 3999
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "-h", "127.0.0.1", "-p", str(port)]
    command += ["-w", str(PROJECT / "workspace.yaml")]
    environment = {
        **settings.environment(),
        "TRADEWIND_RETRAIN_CRON": "0 0 1 1 *",
        "TRADEWIND_DRIFT_CRON": "0 0 1 1 *",
    }
    service = Service(
        "dagster", command, environment, settings.home / "dagster.log", f"{url}/server_info", settings.home
    )
    with Supervisor([service]) as group:
        group.start()
        group.wait_ready(120)
        with loaded_client(url) as client:
            return seconds(lambda: launch_and_wait(client, settings.dataset))


@contextmanager
def loaded_client(url: str) -> Iterator[httpx.Client]:
    """A client of a Dagster server whose code location is loaded."""
    with httpx.Client(base_url=url, timeout=60) as client:
        while (
            "tradewind"
            not in client.post(
                "/graphql",
                json={
                    "query": "{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name } } } } }"
                },
            ).text
        ):
            time.sleep(0.5)
        yield client


def launch_and_wait(client: httpx.Client, partition: str) -> None:
    """Launches the retraining job and waits until it has succeeded."""
    selector = {
        "repositoryLocationName": "tradewind",
        "repositoryName": "__repository__",
        "pipelineName": RETRAINING,
    }
    tags = [{"key": "dagster/partition", "value": partition}]
    parameters = {
        "mode": "default",
        "runConfigData": {},
        "executionMetadata": {"tags": tags},
        "selector": selector,
    }
    launched = client.post("/graphql", json={"query": LAUNCH, "variables": {"p": parameters}}).json()
    run_id = launched["data"]["launchPipelineExecution"]["run"]["runId"]
    while True:
        answer = client.post("/graphql", json={"query": STATUS, "variables": {"i": run_id}}).json()
        status = answer["data"]["runOrError"]["status"]
        if status == "SUCCESS":
            return
        if status in ("FAILURE", "CANCELED"):
            raise SystemExit(f"the run through the daemon ended as {status}")
        time.sleep(0.2)


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def row(what: str, ours: float, peer: float, ratio: float, goal: float | None) -> dict[str, Any]:
    """One row of the table."""
    return {
        "what": what,
        "unit": "seconds",
        "ours": round(ours, 2),
        "peer": "the same functions called directly",
        "peer_value": round(peer, 2),
        "ratio": round(ratio, 3),
        "goal": goal,
        "met": None if goal is None else ratio <= goal,
    }


def versions() -> dict[str, str]:
    """Versions of the compared libraries."""
    return {name: version(name) for name in ("tradewind", "dagster", "torch", "mlflow")} | {
        "python": platform.python_version()
    }


def hardware() -> str:
    """A short description of the machine."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
