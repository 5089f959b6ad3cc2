"""Each peer's settings for a data set: the best of the same number of trials on the window before the test.

The window is judged like the test; where buyers come back, the best settings of each view are kept apart, so that a
peer is seen at its best in each.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from measuring.questions import Question, question

from peers.environments import Answer, ask
from peers.spaces import PEERS, TRIALS, trials
from recommenders.evaluation.protocol import K
from recommenders.metrics import ranking

SETTINGS = Path(__file__).with_name("settings.json")
Settings = dict[str, dict[str, dict[str, Any]]]  # data set -> peer's model -> {"tried", "seconds", "views"}


def settings() -> Settings:
    """What was found, {} before the first tuning."""
    found: Settings = json.loads(SETTINGS.read_text()) if SETTINGS.exists() else {}
    return found


def tune(name: str, peers: Mapping[str, tuple[str, str]] = PEERS, threads: int = 2, n: int = TRIALS) -> None:
    """Tunes peers on a data set's validation window; settings.json is written after each."""
    asked = question(name, validation=True)
    for peer, (environment, model) in peers.items():
        if environment == "recbole" and asked.protocol.split != "latest_out":
            continue  # stands for NCF, which is compared where its paper does
        started = time.perf_counter()
        tried = trials(peer, n)
        jobs = [{"model": model, "params": params} for params in tried]
        answers = ask(environment, asked.log, asked.case.user_rows, jobs, K, exclusions(asked), threads)
        views = best_of(asked, tried, answers)
        found = settings()
        found.setdefault(name, {})[peer] = {
            "tried": len(tried),
            "seconds": round(time.perf_counter() - started),
            "views": views,
        }
        SETTINGS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        print(name, peer, {view: best["validation"] for view, best in views.items()}, flush=True)


def exclusions(asked: Question) -> list[bool]:
    """Whether known items are left out, in every way that a view of the question wants it."""
    return sorted({view.exclude_known for view in asked.views.values()})


def best_of(asked: Question, tried: list[dict[str, Any]], answers: list[Answer]) -> dict[str, Any]:
    """View -> {"params", "validation"}: the settings with the highest mean NDCG@10."""
    best = {}
    for name, view in asked.views.items():
        reached = [
            float(np.nanmean(ranking.ndcg(lists_of(answer, view.exclude_known), view.relevant))) for answer in answers
        ]
        place = int(np.argmax(reached))
        best[name] = {"params": tried[place], "validation": round(reached[place], 4)}
    return best


def lists_of(answer: Answer, exclude_known: bool) -> Any:
    """The lists of an answer that a view asks for."""
    lists = answer.masked if exclude_known else answer.stay
    assert lists is not None
    return lists
