"""Measures the accuracy of our models, the peers and simple baselines, on the same splits and by the same metrics code.

    TRADEWIND_REAL_DATA=FOLDER python benchmarks/accuracy.py [--data-sets NAME ...] [--window validation] [--seeds 5]
        [--ties 3] [--models NAME ...] [--peers NAME ...] [--tune [--minutes N]] [--quick] [--json]

Data sets: online_retail and ml-latest-small in the folder TRADEWIND_REAL_DATA, custom_b2b (simulated, with an oracle
that ranks by the true purchase probabilities), ml-100k (RecBole ships a copy). Each data set is evaluated by the
protocol of its spec (docs/protocols.md): either the window after a time cut over all items, with repeat purchases
(`reorder`) and new items (`discovery`) also evaluated separately; or each user's latest item is held out and ranked
against all items (`all`) and against 99 sampled ones (`sampled`). --window validation evaluates on the window before
the test window, as if the log ended there. Peers run in their own pinned environments. Each view uses the peer settings
that were best on the validation window (benchmarks/peers/tuning/settings.json; --tune searches them again and measures
nothing). The table marks settings that are not from the current grid and budget. Differences are paired over users,
with 95 % bootstrap intervals and Holm's correction over the whole table. --seeds and --ties fit our models again, with
other seeds and with events of the same time stamp in another order, and report how much means and leads change. The
result of each model, peer and trial is kept in .bench/ when it is finished, so an interrupted run continues where it
stopped. A whole run writes benchmarks/results/accuracy-NAME.json. A run with --no-peers also writes it, and the pages
then state that no peer ran.
"""

import argparse
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from measuring import result_table
from measuring.accuracy import entrant_lists
from measuring.accuracy.comparisons import Field, apply_holm, view_rows, views_of
from measuring.benchmark_tasks import DATASETS, SEED, BenchmarkTask, MissingData, benchmark_task
from peers.environments import PeerError, pinned
from peers.tuning.chosen_settings import EARLY, peers_of, settings, shortcomings
from peers.tuning.search import OutOfTime, tune
from peers.tuning.spaces import PEERS

from recommenders.models.all_models import MODELS

NOT_TUNED = "not tuned: library defaults"
QUICK_SCALE = 0.1


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    options = _options()
    names = options.datasets or (["custom_b2b"] if options.quick else list(DATASETS))
    started = time.perf_counter()
    if options.tune:
        tune_all(names, options)
        return
    rows: list[dict[str, Any]] = []
    for name in names:
        begun = time.perf_counter()
        try:
            task = _task(name, options)
        except MissingData as error:
            print(f"{name}: not measured. {error}")
            continue
        own = measure(task, collect(task, options))
        rows += own
        if is_whole(options):
            end = "-validation" if task.validation else ""
            result_table.save(result_table.result(f"accuracy-{name}{end}", own, begun, _peer_versions(options)))
    print(f"\nHolm's correction over {apply_holm(rows)} comparisons; floors and goals after it:")
    result_table.finish("accuracy", rows, started, options.as_json, _peer_versions(options))


def _options() -> argparse.Namespace:
    parser = result_table.arguments(__doc__)
    known = ", ".join(DATASETS)
    parser.add_argument(
        "--data-sets", "--dataset", nargs="+", choices=DATASETS, metavar="NAME", dest="datasets", help=known
    )
    parser.add_argument("--window", choices=("test", "validation"), default="test", help="the window to evaluate on")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds of our models, from 42 on")
    parser.add_argument("--ties", type=int, default=0, help="number of other orders of events with equal time stamps")
    parser.add_argument("--models", nargs="+", default=[], choices=MODELS, metavar="NAME", help="of ours; default: all")
    parser.add_argument("--peers", nargs="+", default=[], choices=PEERS, metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--tune", action="store_true", help="search the peers' settings again; measures nothing")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="--tune starts no trial after this time")
    return parser.parse_args()


def tune_all(names: Sequence[str], options: argparse.Namespace) -> None:
    """Tunes the peers on the validation windows, until all are tuned or the time is over."""
    until = time.monotonic() + 60 * options.minutes
    for name in names:
        try:
            tune(name, options.peers, options.threads, until)
        except MissingData as error:
            print(f"{name}: not tuned. {error}")
        except OutOfTime as error:
            print(error)
            return


def is_whole(options: argparse.Namespace) -> bool:
    """Whether a run measures all our models, and all peers or none. Only such a run writes a results file."""
    return not (options.quick or options.models or options.peers)


def _peer_versions(options: argparse.Namespace) -> Mapping[str, str]:
    return {} if options.no_peers else {of: pinned(of) for of, _ in PEERS.values()}


def _task(name: str, options: argparse.Namespace, ties: int | None = None) -> BenchmarkTask:
    scale = QUICK_SCALE if options.quick else 1.0
    return benchmark_task(name, options.window == "validation", scale, ties)


def collect(task: BenchmarkTask, options: argparse.Namespace) -> Field:
    """The lists of all entrants: our models, baselines and peers. Each model's lists are kept when they are done."""
    found = Field()
    found.ours, found.targets = rank_ours(task, options)
    for seed in range(1, options.seeds):
        found.reruns[f"seed {seed}"] = rank_ours(task, options, SEED + seed)[0]
    for ties in range(1, options.ties + 1):
        found.reruns[f"ties {ties}"] = rank_ours(_task(task.name, options, ties), options)[0]
    if task.protocol.repeat:
        found.others["bought_most"] = entrant_lists.bought_most(task)
    if not options.no_peers:
        rank_peers(task, options, found)
    return found


def rank_ours(
    task: BenchmarkTask, options: argparse.Namespace, seed: int = SEED
) -> tuple[dict[str, entrant_lists.Lists], list[dict[str, Any]]]:
    """(model -> its lists, rows of the success criteria), of our models."""
    config = entrant_lists.configuration(seed=seed)
    lists_by_model: dict[str, entrant_lists.Lists] = {}
    targets: list[dict[str, Any]] = []
    for name in config.enabled():
        if options.models and name not in (*options.models, "popularity"):
            continue
        started = time.perf_counter()
        lists, facts = entrant_lists.ours(name, task, config)
        if "skipped" in facts:
            print(f"{task.name}: {name} is skipped. {facts['skipped']}")
            continue
        lists_by_model[name] = lists
        targets += facts["targets"]
        _report_time(task, name, started)
    return lists_by_model, targets


def rank_peers(task: BenchmarkTask, options: argparse.Namespace, found: Field) -> None:
    """Adds the lists of each peer of the data set, and a note about its settings."""
    tuned = settings().get(task.name, {})
    for name in peers_of(task.protocol.split, options.peers):
        started = time.perf_counter()
        entry = tuned.get(name)
        best = {view: facts["params"] for view, facts in (entry or {}).get("views", {}).items()}
        try:
            found.others[name], ended = entrant_lists.peer(name, task, best, options.threads)
        except PeerError as error:
            print(f"{task.name}: {name} is missing. {error}")
            continue
        found.notes[name] = peer_note(name, entry, ended)
        _report_time(task, name, started)


def peer_note(peer: str, entry: dict[str, Any] | None, ended: Collection[str] = ()) -> str:
    """The note of a peer in the table; "" if its settings are from the current grid and budget and nothing but early
    stopping ended its training. ended: what ended its training runs.
    """
    missing = shortcomings(peer, entry) if entry else []
    notes = [f"settings {'; '.join(missing)}"] if missing else [] if entry else [NOT_TUNED]
    return "; ".join([*notes, *(f"training was ended by {by}" for by in sorted(set(ended) - {EARLY}))])


def _report_time(task: BenchmarkTask, name: str, started: float) -> None:
    seconds = time.perf_counter() - started
    if seconds > 1:
        print(f"{task.name}: {name} took {seconds:.0f} s", flush=True)


def measure(task: BenchmarkTask, found: Field) -> list[dict[str, Any]]:
    """All rows of one data set, printed as one table."""
    print(f"\n{task.name}: {len(task.case.user_ids):,} users, {task.case.description}; version {task.version}")
    print(f"flagship: {found.flagship}; share: fraction of the oracle's NDCG@10")
    print(result_table.ACCURACY_HEAD)
    best = entrant_lists.oracle(task) if task.name == "custom_b2b" else None
    rows: list[dict[str, Any]] = []
    for view in views_of(task, found, best):
        rows += view_rows(task, view, found)
    if found.targets:
        criteria(found.targets)
    return rows


def criteria(targets: Sequence[Mapping[str, Any]]) -> None:
    """Prints the success criteria of the four named models, each with the highest value that is possible."""
    print(f"\n{'criterion':<44} {'target':>8} {'reached':>8} {'ceiling':>8}")
    for line in targets:
        numbers = [line["target"], line["reached"], line["ceiling"]]
        texts = [f"{number:8.3f}" if number is not None else f"{'-':>8}" for number in numbers]
        print(f"{line['model'] + ' ' + line['metric']:<44} {' '.join(texts)}")


if __name__ == "__main__":
    main()
