"""The settings that a tuning found, and why some of them may not be the best."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring.benchmark_tasks import DATASETS
from measuring.disk_cache import key_of

from peers.environments import EPOCHS, STOPPING, pinned
from peers.tuning.spaces import BUDGET, DEFAULTS, GRIDS, NETWORKS, PEERS, at_edge
from recommenders.datasets.all_datasets import dataset

SETTINGS = Path(__file__).with_name("settings.json")
TO_BE_TUNED = Path(__file__).with_name("to_be_tuned.json")  # data set -> peers whose settings are not of today's grid
EARLY = "early stopping"
# data set -> peer's model -> {"tried", "failed", "seconds", "grid", "data", "views"}
Settings = dict[str, dict[str, dict[str, Any]]]


def settings() -> Settings:
    """What was found, {} before the first tuning."""
    found: Settings = json.loads(SETTINGS.read_text()) if SETTINGS.exists() else {}
    return found


def write(found: Settings) -> None:
    """Writes what was found, and which peers are to be tuned again."""
    SETTINGS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    TO_BE_TUNED.write_text(json.dumps(to_be_tuned(found), indent=1) + "\n")


def peers_of(protocol_split: str, names: Sequence[str] = ()) -> list[str]:
    """The peers that are asked; RecBole's stand for NCF and what comes next, and are compared where their papers do."""
    return [
        name
        for name, (environment, _) in PEERS.items()
        if (not names or name in names) and (environment != "recbole" or protocol_split == "latest_out")
    ]


def grid_of(peer: str) -> str:
    """A short name of all that a tuning of the peer depends on but the data: grid, defaults, budget, version."""
    return key_of(GRIDS[peer], DEFAULTS[peer], BUDGET, pinned(PEERS[peer][0]), *limits_of(peer))


def limits_of(peer: str) -> tuple[float, ...]:
    """What ends the training of a network: epochs, validations without a better one, seconds; () of other models."""
    return (EPOCHS, STOPPING, NETWORKS[peer]) if peer in NETWORKS else ()


def shortcomings(peer: str, found: dict[str, Any] | None) -> list[str]:
    """Why settings are not those of today's grid and budget, [] if they are. found: an entry of settings()."""
    if not found:
        return ["never tuned"]
    reasons = []
    if found.get("grid") != grid_of(peer):
        reasons.append("of an older grid")
    if found["tried"] < BUDGET.trials and found["seconds"] < BUDGET.seconds:
        reasons.append(f"of {found['tried']} trials, not {BUDGET.trials}")
    edges: dict[str, list[str]] = {}
    for view, best in found["views"].items():
        for axis in sorted({*best.get("at_edge", ()), *at_edge(peer, best["params"])}):
            edges.setdefault(axis, []).append(view)
    return reasons + [f"{axis} on the edge of the grid ({', '.join(views)})" for axis, views in edges.items()]


def to_be_tuned(found: Settings) -> dict[str, list[str]]:
    """Data set -> peers that are asked there and whose settings have shortcomings."""
    waiting = {
        name: [peer for peer in peers_of(_split(name)) if shortcomings(peer, found.get(name, {}).get(peer))]
        for name in DATASETS
    }
    return {name: peers for name, peers in waiting.items() if peers}


def _split(name: str) -> str:
    return dataset(DATASETS[name]).protocol.split


def ended_by(figures: Mapping[str, Any]) -> str:
    """What ended the training of a network, "" of other models. figures: those of an answer."""
    if "epochs" not in figures:
        return ""
    return EARLY if figures["ended_early"] else "all epochs" if figures["epochs"] >= EPOCHS else "its seconds"
