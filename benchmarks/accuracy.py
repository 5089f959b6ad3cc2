"""How good the lists are: every model of ours, the peers and plain baselines, on the same splits, judged by one code.

    TRADEWIND_REAL_DATA=FOLDER python benchmarks/accuracy.py [--dataset NAME ...] [--models NAME ...] [--quick] [--json]

Data sets: online_retail and ml-latest-small below TRADEWIND_REAL_DATA, custom_b2b (made, with the oracle that knows its
law), ml-100k (RecBole ships a copy). Each by the protocol of its spec (docs/protocols.md): the window behind a time cut
over all items, reorders and discoveries apart; or each user's latest item held out, ranked against all items (`all`)
and against 99 sampled ones (`sampled`). Peers run in their own pinned environments with the settings that were best on
the window before the test, for each view its own (benchmarks/peers/settings.json; --tune finds them anew). Differences
are paired over buyers, with a 95 % bootstrap interval. What is finished is kept in .bench/, so a cut run goes on.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from measuring import entrants, table
from measuring.questions import DATASETS, MissingData, Question, question
from numpy.typing import NDArray
from peers.environments import PeerError, pinned
from peers.spaces import PEERS
from peers.tuning import settings, tune

from recommenders.evaluation.comparison import mean_interval, paired_difference
from recommenders.metrics import ranking

Vectors = dict[str, NDArray[np.float64]]  # entrant -> one value a buyer
BLENDS = ("hybrid", "hybrid_learned")
QUICK_SCALE = 0.1

# (data set, view) -> (floor, goal) of the flagship's NDCG@10, or of its share of the oracle's
BOUNDS = {("online_retail", "all"): (0.38, 0.40), ("online_retail", "discovery"): (0.132, 0.145)}
SHARES = {("custom_b2b", "all"): (0.85, 0.95), ("custom_b2b", "reorder"): (0.85, 0.95)}


def main() -> None:
    """Prints a table, and with --json one last line."""
    parser = table.arguments(__doc__)
    parser.add_argument("--dataset", nargs="+", choices=DATASETS, metavar="NAME", help=", ".join(DATASETS))
    parser.add_argument("--models", nargs="+", default=(), metavar="NAME", help="of ours; by default all")
    parser.add_argument("--tune", action="store_true", help="find the peers' settings anew, then measure")
    options = parser.parse_args()
    started = time.perf_counter()
    names = options.dataset or (["custom_b2b"] if options.quick else list(DATASETS))
    rows: list[dict[str, Any]] = []
    print(table.HEAD)
    for name in names:
        if options.tune and not options.no_peers:
            tune(name, threads=options.threads)
        try:
            asked = question(name, scale=QUICK_SCALE if options.quick else 1.0)
        except MissingData as error:
            print(f"{name}: not measured. {error}")
            continue
        rows += measure(asked, options.models, not options.no_peers, options.threads)
    used = {} if options.no_peers else {of: pinned(of) for of, _ in PEERS.values()}
    table.finish("accuracy", rows, started, options.as_json, used)


def measure(asked: Question, models: Sequence[str], with_peers: bool, threads: int) -> list[dict[str, Any]]:
    """All rows of one data set, printed as they come."""
    ours, facts = entrants.ours(asked, entrants.configuration(models))
    others: dict[str, entrants.Lists] = {}
    if asked.protocol.repeat:
        others["bought_most"] = entrants.bought_most(asked)
    if with_peers:
        others |= ask_peers(asked, threads)
    flagship = "hybrid_learned" if "hybrid_learned" in ours else next(reversed(ours))
    best = entrants.oracle(asked) if asked.name == "custom_b2b" else None
    rows = []
    for view in [*asked.views, *(["sampled"] if asked.sampled is not None else [])]:
        judged = judge(asked, {**ours, **others}, view)
        rows += reached(asked, view, judged, flagship)
        if best is not None:
            rows += shares(asked, view, judged, judge(asked, {"oracle": best}, view)["oracle"], flagship)
        rows += compared(asked, view, judged, flagship, list(ours))
    rows += cold(asked, facts["cold"])
    if asked.name == "custom_b2b":
        criteria(facts["targets"])
    return rows


def ask_peers(asked: Question, threads: int) -> dict[str, entrants.Lists]:
    """The lists of each peer that was tuned for the data set."""
    found: dict[str, entrants.Lists] = {}
    tuned = settings().get(asked.name, {})
    for name in PEERS:
        if name not in tuned:
            continue
        try:
            found[name] = entrants.peer(name, asked, tuned[name], threads)
        except PeerError as error:
            print(f"{asked.name}: {name} is missing. {error}")
    return found


def judge(asked: Question, lists: Mapping[str, entrants.Lists], view: str) -> Vectors:
    """NDCG@10 of each buyer on a view, for everybody who has lists for it."""
    relevant = asked.views["all" if view == "sampled" else view].relevant
    return {name: ranking.ndcg(of[view], relevant) for name, of in lists.items() if view in of}


def reached(asked: Question, view: str, judged: Vectors, flagship: str) -> list[dict[str, Any]]:
    """The mean of everybody, best first; the hit rate beside it where one item is held out."""
    rows = []
    for name in sorted(judged, key=lambda name: -np.nanmean(judged[name])):
        mean = mean_interval(judged[name])
        floor, goal = BOUNDS.get((asked.name, view), (None, None)) if name == flagship else (None, None)
        line = table.row(f"{asked.name} {view}: {name}", "NDCG@10", mean.value, floor=floor, goal=goal)
        rows.append({**line, "interval": [round(mean.low, 4), round(mean.high, 4)]})
        if asked.sampled is not None:  # one held-out item: in the list or not
            rows[-1]["hit_rate"] = round(float(np.nanmean(judged[name] > 0)), 4)
        notes = [f"[{mean.low:.4f}, {mean.high:.4f}]"]
        notes += [f"HR@10 {rows[-1]['hit_rate']:.4f}"] if asked.sampled is not None else []
        table.show({**rows[-1], "note": " ".join(notes)})
    return rows


def shares(
    asked: Question, view: str, judged: Vectors, best: NDArray[np.float64], flagship: str
) -> list[dict[str, Any]]:
    """How much of the oracle's NDCG@10 everybody reaches."""
    ceiling = float(np.nanmean(best))
    rows = []
    for name, vector in judged.items():
        floor, goal = SHARES.get((asked.name, view), (None, None)) if name == flagship else (None, None)
        share = float(np.nanmean(vector)) / ceiling
        what = f"{asked.name} {view}: {name} of the oracle"
        rows.append(table.row(what, "share of NDCG@10", share, ("oracle NDCG@10", ceiling), floor, goal))
        rows[-1]["ratio"] = None
        table.show(rows[-1])
    return rows


def compared(asked: Question, view: str, judged: Vectors, flagship: str, ours: list[str]) -> list[dict[str, Any]]:
    """The flagship minus each other entrant, and minus the best of its members, whichever that is on this test."""
    members = [name for name in ours if name not in BLENDS and name in judged]
    rivals = [name for name in judged if name not in (*members, flagship)]
    if members:
        rivals.insert(0, max(members, key=lambda name: np.nanmean(judged[name])))
    rows = []
    for name in rivals:
        gain = paired_difference(judged[flagship], judged[name])
        label = f"{name} (best member)" if name in members else name
        mean = float(np.nanmean(judged[flagship]))
        what = f"{asked.name} {view}: {flagship} against"
        line = table.row(what, "NDCG@10", mean, (label, float(np.nanmean(judged[name]))))
        line |= {"difference": [round(part, 4) for part in gain], "floor": 0.0, "floor_met": bool(gain.low > 0)}
        line |= {"goal": 0.0, "met": bool(gain.low > 0)}
        rows.append(line)
        verdict = "floor met: above 0" if gain.low > 0 else "floor MISSED: not above 0"
        note = f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] {verdict}"
        table.show({**line, "floor": None, "goal": None, "note": note})
    return rows


def cold(asked: Question, cases: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """New buyers and new items: each model against popularity, with the paired difference."""
    rows = []
    for case, found in cases.items():
        vectors = {name: np.array(values, dtype=np.float64) for name, values in found["models"].items()}
        popular = vectors.pop("popularity")
        for name, vector in vectors.items():
            gain = paired_difference(vector, popular)
            what = f"{asked.name} {case} ({found['n_users']}): {name}"
            line = table.row(what, "NDCG@10", float(np.nanmean(vector)), ("popularity", float(np.nanmean(popular))))
            rows.append({**line, "difference": [round(part, 4) for part in gain]})
            table.show({**line, "note": f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"})
    return rows


def criteria(targets: Sequence[Mapping[str, Any]]) -> None:
    """The success criteria of the four named models, with what arithmetic allows at all."""
    print(f"{'criterion':<44} {'target':>8} {'reached':>8} {'ceiling':>8}")
    for line in targets:
        numbers = [line["target"], line["reached"], line["ceiling"]]
        texts = [f"{number:8.3f}" if number is not None else f"{'-':>8}" for number in numbers]
        print(f"{line['model'] + ' ' + line['metric']:<44} {' '.join(texts)}")


if __name__ == "__main__":
    main()
