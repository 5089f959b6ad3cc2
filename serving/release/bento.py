"""Packages the champion as a Bento: code, bundle and requirements in one. A Bento runs without MLflow.

BentoML builds in a separate process, which imports the service from the staging folder; `serving` in this process
stays unchanged. Nothing is downloaded from a network.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from recommenders.errors import ReleaseError
from recommenders.storage.bundle import MANIFEST, size_in_bytes
from recommenders.storage.locks import is_in_use
from recommenders.storage.retention import Stored
from serving.champion.pointer import Pointer, read_pointer, verify, write_pointer
from serving.lists import precomputed
from serving.settings import BENTO_POINTER, BENTO_RULES, PROJECT, ServingSettings
from serving.steering.catalogue import files
from serving.steering.catalogue.files import record_file
from serving.steering.rules import files as rules_files

PACKAGES = ("recommenders", "serving")
# The packages that the worker imports; torch, mlflow, pyarrow, scikit-learn and XGBoost are not among them.
REQUIREMENTS = (
    "numpy",
    "scipy",
    "safetensors",
    "pydantic",
    "pydantic-settings",
    "PyYAML",
    "orjson",
    "starlette",
    "prometheus_client",
    "psutil",
    "sqlalchemy",
    "alembic",
    "jinja2",
    "threadpoolctl",
    "uvloop",
    "httptools",
    "cel-expr-python",
    "protobuf",
)
OPTIONAL = ("redis",)  # imported only where a setting asks for it; in a Bento if it is installed where that is built
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", "release", "training", "evaluation", "simulation")
BUILD_SECONDS = 120
TELEMETRY_OFF = {"BENTOML_DO_NOT_TRACK": "True"}


@dataclass(frozen=True)
class BentoInfo:
    """A built Bento. Serve it by `bentoml serve TAG` with BENTOML_HOME set to the settings' bentoml_home."""

    tag: str
    path: Path
    version: int  # of the champion


def build(settings: ServingSettings, version: str | None = None) -> BentoInfo:
    """Builds the champion's Bento; `version` is the Bento's version, by default the champion's and the time.

    The Bento has the catalogue that is served now, if there is one, and the rules of the shop. Raises ReleaseError if
    there is no champion or the build fails, BundleError if its bundle is damaged, CatalogueError if the catalogue is,
    RulesError if the file of rules is not valid.
    """
    pointer = read_pointer(settings.pointer)
    if pointer is None:
        raise ReleaseError(f"no champion at {settings.pointer}; promote a version of {settings.dataset} first")
    name = bento_name(pointer.dataset)
    version = version or f"v{pointer.version}-{datetime.now(UTC):%Y%m%d%H%M%S}"
    with tempfile.TemporaryDirectory(prefix="tradewind-bento-") as folder:
        staged = stage(Path(folder), pointer, pointer.bundle_folder(settings.pointer))
        files.copy(record_file(settings.pointer), record_file(staged))
        if settings.rules_file is not None or settings.rules.is_file():
            staged.with_name(BENTO_RULES.name).write_text(rules_files.read(settings.rules).text)
        # JSON is valid YAML and needs no quoting rules.
        (Path(folder) / "bentofile.yaml").write_text(json.dumps(bentofile(name, pointer), indent=2))
        _bentoml_build(Path(folder), version, settings.bentoml_home)
    return BentoInfo(f"{name}:{version}", settings.bentoml_home / "bentos" / name / version, pointer.version)


def bento_name(dataset: str) -> str:
    """A name that BentoML accepts: lower case letters, digits, and . _ - inside."""
    return f"tradewind_{re.sub(r'[^a-z0-9._-]', '-', dataset.lower())}".rstrip("._-")


def stored_bentos(settings: ServingSettings, dataset: str) -> list[Stored]:
    """The Bentos of a data set, by their versions."""
    return [
        Stored(folder.name, made_at(folder), size_in_bytes(folder), _is_rest(folder))
        for folder in _bentos(settings, dataset)
    ]


def made_at(folder: Path) -> datetime:
    """When a Bento was made, UTC: by its version if build() chose it, as files change while they are deleted."""
    if re.fullmatch(r"v\d+-\d{14}", folder.name):
        return datetime.strptime(folder.name.partition("-")[2], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return datetime.fromtimestamp(folder.stat().st_mtime, UTC)


def _is_rest(folder: Path) -> bool:
    """Whether a Bento was deleted in part; one that is just being built lacks its description too."""
    return not (folder / "bento.yaml").is_file() and made_at(folder) < datetime.now(UTC) - timedelta(hours=1)


def protected_bentos(settings: ServingSettings, dataset: str, versions: Mapping[str, str]) -> dict[str, str]:
    """Version of each Bento that must stay -> why. versions: number of each version that must stay -> why.

    Of each of these versions the newest Bento stays, and any Bento that is served on this machine.
    """
    reasons: dict[str, str] = {}
    for number, why in versions.items():
        own = sorted(folder.name for folder in _bentos(settings, dataset) if folder.name.startswith(f"v{number}-"))
        reasons |= dict.fromkeys(own[-1:], f"of version {number}: {why}")
    for folder in _bentos(settings, dataset):
        if any(map(is_in_use, folder.glob(f"src/{BENTO_POINTER.parent.name}/*/{MANIFEST}"))):
            reasons[folder.name] = "a service has its model in memory"
    return reasons


def delete_bento(settings: ServingSettings, dataset: str, version: str) -> None:
    """Deletes a Bento. BentoML's own command would import all of it for this."""
    shutil.rmtree(_bentos_folder(settings, dataset) / version)


def _bentos(settings: ServingSettings, dataset: str) -> list[Path]:
    folder = _bentos_folder(settings, dataset)
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _bentos_folder(settings: ServingSettings, dataset: str) -> Path:
    return settings.bentoml_home / "bentos" / bento_name(dataset)


def stage(folder: Path, pointer: Pointer, bundle: Path) -> Path:
    """Copies the packages into the folder, and the champion where settings.BENTO_POINTER is; returns the pointer."""
    verify(bundle, pointer.bundle_sha256)
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, folder / package, ignore=IGNORED)
    staged_pointer = folder / BENTO_POINTER.relative_to(PROJECT)
    shutil.copytree(bundle, staged_pointer.parent / str(pointer.version))
    if (lists := precomputed.folder_of(bundle)).is_dir():
        shutil.copytree(lists, precomputed.folder_of(staged_pointer.parent / str(pointer.version)))
    write_pointer(staged_pointer, replace(pointer, bundle=str(pointer.version), earlier=()))
    return staged_pointer


def bentofile(name: str, pointer: Pointer) -> dict[str, Any]:
    """The content of the bentofile; `bentoml containerize` makes an image of the Bento where docker is installed."""
    return {
        "service": "serving.service:Tradewind",
        "name": name,
        "description": f"{pointer.model}, version {pointer.version}, trained on {pointer.dataset}.",
        "labels": {"dataset": pointer.dataset, "model": pointer.model, "version": str(pointer.version)},
        "include": [*(f"{package}/" for package in PACKAGES), f"{BENTO_POINTER.parent.name}/"],
        "python": {
            "packages": [f"{package}=={installed(package)}" for package in (*REQUIREMENTS, *_found(OPTIONAL))],
            "lock_packages": False,  # locking would need a package index
        },
        "envs": [{"name": key, "value": value} for key, value in TELEMETRY_OFF.items()],
        "docker": {
            "distro": "debian",
            "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
        },
    }


def _found(packages: Sequence[str]) -> list[str]:
    """Those of some packages that are installed."""
    found = []
    for package in packages:
        with suppress(PackageNotFoundError):
            installed(package)
            found.append(package)
    return found


def _bentoml_build(folder: Path, version: str, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bentoml", "build", "--version", version, str(folder)]
    environment = {**os.environ, **TELEMETRY_OFF, "BENTOML_HOME": str(home)}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        output = (done.stderr or done.stdout).strip().splitlines() or ["it printed nothing"]
        raise ReleaseError(f"bentoml could not build from {folder}: {output[-1].strip()}")
