"""How good the lists are: every model of ours, the peers and plain baselines, on the same splits, judged by one code.

    TRADEWIND_REAL_DATA=FOLDER python benchmarks/accuracy.py [--data-sets NAME ...] [--models NAME ...]
                                                             [--peers NAME ...] [--tune] [--quick] [--json]

Data sets: online_retail and ml-latest-small below TRADEWIND_REAL_DATA, custom_b2b (made, with the oracle that knows its
law), ml-100k (RecBole ships a copy). Each by the protocol of its spec (docs/protocols.md): the window behind a time cut
over all items, reorders and discoveries apart; or each user's latest item held out, ranked against all items (`all`)
and against 99 sampled ones (`sampled`). Peers run in their own pinned environments with the settings that were best on
the window before the test, for each view its own (benchmarks/peers/settings.json; --tune finds them anew and measures
nothing), or with their library's defaults, and then the table says so. Differences are paired over buyers, with a 95 %
bootstrap interval. Each model, each peer and each trial is kept in .bench/ when it is finished, so a cut run goes on.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from measuring import entrants, table
from measuring.questions import DATASETS, MissingData, Question, question
from numpy.typing import NDArray
from peers.environments import PeerError, pinned
from peers.spaces import PEERS
from peers.tuning import peers_of, settings, tune

from recommenders.evaluation.comparison import Interval, mean_interval, paired_difference
from recommenders.metrics import ranking
from recommenders.models.catalog import COMPOSED, MODELS

FLAGSHIP = "hybrid_learned"
UNTUNED = "not tuned: library defaults"
QUICK_SCALE = 0.1
Vector = NDArray[np.float64]  # one value a buyer

# (data set, view) -> (floor, goal) of the flagship's NDCG@10, or of its share of the oracle's
BOUNDS = {("online_retail", "all"): (0.38, 0.40), ("online_retail", "discovery"): (0.132, 0.145)}
SHARES = {("custom_b2b", "all"): (0.85, 0.95), ("custom_b2b", "reorder"): (0.85, 0.95)}
# a peer's model -> ours of the same kind
COUNTERPARTS = {
    "implicit_als": "implicit_factors",
    "lenskit_als": "implicit_factors",
    "rectools_ease": "linear_items",
    "lenskit_user_neighbours": "collaborative_filtering",
    "recbole_neumf": "neural_collaborative",
}
# the beginning of a cold case's name -> who must beat popularity there
COLD_FLOORS = {"new buyers": ("hybrid", FLAGSHIP), "items unseen": ("content_based", "hybrid")}


@dataclass
class Field:
    """Everybody's lists, and what is to be said about them."""

    ours: dict[str, entrants.Lists] = field(default_factory=dict)
    others: dict[str, entrants.Lists] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    targets: list[dict[str, Any]] = field(default_factory=list)


def main() -> None:
    """Prints a table, and with --json one last line."""
    options = _options()
    started = time.perf_counter()
    names = options.datasets or (["custom_b2b"] if options.quick else list(DATASETS))
    rows: list[dict[str, Any]] = []
    for name in names:
        try:
            if options.tune:
                tune(name, options.peers, options.threads)
                continue
            asked = question(name, scale=QUICK_SCALE if options.quick else 1.0)
        except MissingData as error:
            print(f"{name}: not measured. {error}")
            continue
        rows += measure(asked, gathered(asked, options))
    used = {} if options.no_peers else {of: pinned(of) for of, _ in PEERS.values()}
    table.finish("accuracy", rows, started, options.as_json, used)


def _options() -> argparse.Namespace:
    parser = table.arguments(__doc__)
    known = ", ".join(DATASETS)
    parser.add_argument(
        "--data-sets", "--dataset", nargs="+", choices=DATASETS, metavar="NAME", dest="datasets", help=known
    )
    parser.add_argument("--models", nargs="+", default=[], choices=MODELS, metavar="NAME", help="of ours; all")
    parser.add_argument("--peers", nargs="+", default=[], choices=PEERS, metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--tune", action="store_true", help="find the peers' settings anew; measures nothing")
    return parser.parse_args()


def gathered(asked: Question, options: argparse.Namespace) -> Field:
    """The lists of all that are asked: our models one by one, each kept when it is done, baselines, peers."""
    found = Field()
    config = entrants.configuration()
    for name in config.enabled():
        if options.models and name not in (*options.models, "popularity"):
            continue
        started = time.perf_counter()
        lists, facts = entrants.ours(name, asked, config)
        if "declined" in facts:
            print(f"{asked.name}: {name} is left out. {facts['declined']}")
            continue
        found.ours[name] = lists
        found.targets += facts["targets"]
        _told(asked, name, started)
    if asked.protocol.repeat:
        found.others["bought_most"] = entrants.bought_most(asked)
    if not options.no_peers:
        ask_peers(asked, options, found)
    return found


def ask_peers(asked: Question, options: argparse.Namespace, found: Field) -> None:
    """Adds the lists of each peer that stands beside us on the data set, and how it came to its settings."""
    tuned = settings().get(asked.name, {})
    for name in peers_of(asked.protocol.split, options.peers):
        started = time.perf_counter()
        best = {view: facts["params"] for view, facts in tuned.get(name, {}).get("views", {}).items()}
        try:
            found.others[name] = entrants.peer(name, asked, best, options.threads)
        except PeerError as error:
            print(f"{asked.name}: {name} is missing. {error}")
            continue
        found.notes[name] = "" if best else UNTUNED
        _told(asked, name, started)


def _told(asked: Question, name: str, started: float) -> None:
    seconds = time.perf_counter() - started
    if seconds > 1:
        print(f"{asked.name}: {name} took {seconds:.0f} s", flush=True)


def measure(asked: Question, found: Field) -> list[dict[str, Any]]:
    """All rows of one data set, printed as one table."""
    flagship = FLAGSHIP if FLAGSHIP in found.ours else next(reversed(found.ours))
    print(f"\n{asked.name}: {len(asked.case.user_ids):,} buyers, {asked.case.description}; version {asked.version}")
    print(f"flagship: {flagship}; share: of the oracle's NDCG@10")
    print(table.ACCURACY_HEAD)
    best = entrants.oracle(asked) if asked.name == "custom_b2b" else {}
    rows: list[dict[str, Any]] = []
    for view in [*asked.views, *(["sampled"] if asked.sampled is not None else [])]:
        relevant = asked.views["all" if view == "sampled" else view].relevant
        judged = {name: ranking.ndcg(of[view], relevant) for name, of in {**found.ours, **found.others}.items()}
        ceiling = float(np.nanmean(ranking.ndcg(best[view], relevant))) if best else None
        rows += view_rows(asked, view, judged, found, flagship, ceiling)
    rows += cold_rows(asked, found)
    if found.targets:
        criteria(found.targets)
    return rows


def view_rows(
    asked: Question, view: str, judged: Mapping[str, Vector], found: Field, flagship: str, ceiling: float | None
) -> list[dict[str, Any]]:
    """Everybody's mean on a view, best first, and how far the flagship is ahead; ceiling: the oracle's mean."""
    means = {name: float(np.nanmean(vector)) for name, vector in judged.items()}
    members = [name for name in found.ours if name not in (*COMPOSED, flagship)]
    best_member = max(members, key=lambda name: means[name], default=None)
    rows = []
    for name in sorted(judged, key=lambda name: -means[name]):
        line = _line(asked, view, name, judged, flagship if name in found.others else name)
        if ceiling is not None:
            line |= {"share": round(means[name] / ceiling, 4), "oracle": round(ceiling, 4)}
        if asked.sampled is not None:  # one held-out item: in the list or not
            line["hit_rate"] = round(float(np.nanmean(judged[name] > 0)), 4)
        if name == flagship:
            line |= _bounded(asked, view, line)
        else:
            gain = paired_difference(judged[flagship], judged[name])
            rival = name in found.others or name in (best_member, "hybrid")
            rival &= flagship == FLAGSHIP and asked.scale == 1.0
            line |= _difference(gain, rival)
        line["note"] = "; ".join(_remarks(name, judged, found, best_member))
        rows.append(line)
        table.show_accuracy(line)
    return rows


def _line(asked: Question, view: str, name: str, judged: Mapping[str, Vector], ours: str) -> dict[str, Any]:
    """`ours`: whose mean stands as ours, beside that of a peer."""
    mean = mean_interval(judged[name])
    peer = None if ours == name else (name, mean.value)
    line = table.row(f"{asked.name} {view}: {name}", "NDCG@10", float(np.nanmean(judged[ours])), peer)
    return {**line, "value": round(mean.value, 4), "interval": table.ends(mean)}


def _bounded(asked: Question, view: str, line: Mapping[str, Any]) -> dict[str, Any]:
    """The floor and the goal of the flagship."""
    on = "share" if (asked.name, view) in SHARES else "value"
    floor, goal = (SHARES if on == "share" else BOUNDS).get((asked.name, view), (None, None))
    if floor is None or asked.scale != 1.0:
        return {}
    bounds = {"floor": floor, "floor_met": line[on] >= floor, "goal": goal, "met": line[on] >= goal}
    return {**bounds, "bounds": "share of the oracle" if on == "share" else "ours"}


def _difference(gain: Interval, rival: bool) -> dict[str, Any]:
    """How much more the flagship reaches; of a rival it must be more than nothing."""
    found: dict[str, Any] = {"difference": [round(part, 4) for part in gain]}
    if rival:
        met = bool(gain.low > 0)
        found |= {"floor": 0.0, "floor_met": met, "goal": 0.0, "met": met, "bounds": "difference"}
    return found


def _remarks(name: str, judged: Mapping[str, Vector], found: Field, best_member: str | None) -> list[str]:
    remarks = [found.notes[name]] if found.notes.get(name) else []
    if name == best_member:
        remarks.append("best member")
    ours = COUNTERPARTS.get(name, "")
    if ours in judged:
        gain = paired_difference(judged[ours], judged[name])
        remarks.append(f"{ours} less it {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")
    return remarks


def cold_rows(asked: Question, found: Field) -> list[dict[str, Any]]:
    """New buyers and new items: each model against popularity, with the paired difference."""
    rows = []
    for case_name, case in asked.cold.items():
        judged = {name: ranking.ndcg(lists[case_name], case.relevant) for name, lists in found.ours.items()}
        wanted = next(names for begins, names in COLD_FLOORS.items() if case_name.startswith(begins))
        popular = judged.pop("popularity")
        for name in sorted(judged, key=lambda name: -np.nanmean(judged[name])):
            mean = mean_interval(judged[name])
            what = f"{asked.name} {case_name} ({len(case.user_ids)}): {name}"
            line = table.row(what, "NDCG@10", mean.value, ("popularity", float(np.nanmean(popular))))
            line |= {"value": line["ours"], "interval": table.ends(mean)}
            line |= _difference(paired_difference(judged[name], popular), name in wanted and asked.scale == 1.0)
            rows.append({**line, "note": "it less popularity"})
            table.show_accuracy(rows[-1])
    return rows


def criteria(targets: Sequence[Mapping[str, Any]]) -> None:
    """The success criteria of the four named models, with what arithmetic allows at all."""
    print(f"\n{'criterion':<44} {'target':>8} {'reached':>8} {'ceiling':>8}")
    for line in targets:
        numbers = [line["target"], line["reached"], line["ceiling"]]
        texts = [f"{number:8.3f}" if number is not None else f"{'-':>8}" for number in numbers]
        print(f"{line['model'] + ' ' + line['metric']:<44} {' '.join(texts)}")


if __name__ == "__main__":
    main()
