"""How good the lists are: every model of ours, the peers and plain baselines, on the same splits, judged by one code.

    TRADEWIND_REAL_DATA=FOLDER python benchmarks/accuracy.py [--data-sets NAME ...] [--window validation] [--seeds 5]
        [--ties 3] [--models NAME ...] [--peers NAME ...] [--tune [--minutes N]] [--quick] [--json]

Data sets: online_retail and ml-latest-small below TRADEWIND_REAL_DATA, custom_b2b (made, with the oracle that knows its
law), ml-100k (RecBole ships a copy). Each by the protocol of its spec (docs/protocols.md): the window behind a time cut
over all items, reorders and discoveries apart; or each user's latest item held out, ranked against all items (`all`)
and against 99 sampled ones (`sampled`). --window validation asks the same of the window before the test, as if the log
ended there. Peers run in their own pinned environments with the settings that were best on that window, for each view
its own (benchmarks/peers/settings.json; --tune finds them anew and measures nothing); where these are not of today's
grid and budget, the table says so. Differences are paired over users, with 95 % bootstrap intervals, and Holm's
correction over the whole table. --seeds and --ties fit ours again with other seeds and with the events of one moment in
another order, and say how far that moves means and leads. Each model, peer and trial is kept in .bench/ when it is
finished, so a cut run goes on. A whole run writes benchmarks/results/accuracy-NAME.json; with --no-peers, too, and the
pages then say that no peer ran.
"""

import argparse
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from measuring import entrants, table
from measuring.judging import Field, corrected, view_rows, views_of
from measuring.questions import DATASETS, SEED, MissingData, Question, question
from peers.environments import PeerError, pinned
from peers.spaces import PEERS
from peers.tuning import EARLY, OutOfTime, peers_of, settings, shortcomings, tune

from recommenders.models.catalog import MODELS

NOT_TUNED = "not tuned: library defaults"
QUICK_SCALE = 0.1


def main() -> None:
    """Prints a table, and with --json one last line."""
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
            asked = _question(name, options)
        except MissingData as error:
            print(f"{name}: not measured. {error}")
            continue
        own = measure(asked, gathered(asked, options))
        rows += own
        if is_whole(options):
            end = "-validation" if asked.validation else ""
            table.save(table.result(f"accuracy-{name}{end}", own, begun, _peer_versions(options)))
    print(f"\nHolm's correction over {corrected(rows)} comparisons; floors and goals after it:")
    table.finish("accuracy", rows, started, options.as_json, _peer_versions(options))


def _options() -> argparse.Namespace:
    parser = table.arguments(__doc__)
    known = ", ".join(DATASETS)
    parser.add_argument(
        "--data-sets", "--dataset", nargs="+", choices=DATASETS, metavar="NAME", dest="datasets", help=known
    )
    parser.add_argument("--window", choices=("test", "validation"), default="test", help="which window is asked about")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of ours, one after the other from 42 on")
    parser.add_argument("--ties", type=int, default=0, help="other orders of the events of one moment")
    parser.add_argument("--models", nargs="+", default=[], choices=MODELS, metavar="NAME", help="of ours; all")
    parser.add_argument("--peers", nargs="+", default=[], choices=PEERS, metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--tune", action="store_true", help="find the peers' settings anew; measures nothing")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="past these --tune begins no trial")
    return parser.parse_args()


def tune_all(names: Sequence[str], options: argparse.Namespace) -> None:
    """Tunes the peers on the validation windows until all are, or the minutes are over."""
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
    """Whether a run measures all of ours, and all peers or none: what a results file may hold."""
    return not (options.quick or options.models or options.peers)


def _peer_versions(options: argparse.Namespace) -> Mapping[str, str]:
    return {} if options.no_peers else {of: pinned(of) for of, _ in PEERS.values()}


def _question(name: str, options: argparse.Namespace, ties: int | None = None) -> Question:
    scale = QUICK_SCALE if options.quick else 1.0
    return question(name, options.window == "validation", scale, ties)


def gathered(asked: Question, options: argparse.Namespace) -> Field:
    """The lists of all that are asked: our models one by one, each kept when it is done, baselines, peers."""
    found = Field()
    found.ours, found.targets = ask_ours(asked, options)
    for seed in range(1, options.seeds):
        found.draws[f"seed {seed}"] = ask_ours(asked, options, SEED + seed)[0]
    for ties in range(1, options.ties + 1):
        found.draws[f"ties {ties}"] = ask_ours(_question(asked.name, options, ties), options)[0]
    if asked.protocol.repeat:
        found.others["bought_most"] = entrants.bought_most(asked)
    if not options.no_peers:
        ask_peers(asked, options, found)
    return found


def ask_ours(
    asked: Question, options: argparse.Namespace, seed: int = SEED
) -> tuple[dict[str, entrants.Lists], list[dict[str, Any]]]:
    """The lists of each model of ours, and the success criteria's rows."""
    config = entrants.configuration(seed=seed)
    answers: dict[str, entrants.Lists] = {}
    targets: list[dict[str, Any]] = []
    for name in config.enabled():
        if options.models and name not in (*options.models, "popularity"):
            continue
        started = time.perf_counter()
        lists, facts = entrants.ours(name, asked, config)
        if "declined" in facts:
            print(f"{asked.name}: {name} is left out. {facts['declined']}")
            continue
        answers[name] = lists
        targets += facts["targets"]
        _report_time(asked, name, started)
    return answers, targets


def ask_peers(asked: Question, options: argparse.Namespace, found: Field) -> None:
    """Adds the lists of each peer that stands beside us on the data set, and how it came to its settings."""
    tuned = settings().get(asked.name, {})
    for name in peers_of(asked.protocol.split, options.peers):
        started = time.perf_counter()
        entry = tuned.get(name)
        best = {view: facts["params"] for view, facts in (entry or {}).get("views", {}).items()}
        try:
            found.others[name], ended = entrants.peer(name, asked, best, options.threads)
        except PeerError as error:
            print(f"{asked.name}: {name} is missing. {error}")
            continue
        found.notes[name] = note_on(name, entry, ended)
        _report_time(asked, name, started)


def note_on(peer: str, entry: dict[str, Any] | None, ended: Collection[str] = ()) -> str:
    """What the table says of a peer; nothing where its settings are those of today's grid and budget, and its trainings
    came to their end. ended: what ended them.
    """
    wanting = shortcomings(peer, entry) if entry else []
    notes = [f"settings {'; '.join(wanting)}"] if wanting else [] if entry else [NOT_TUNED]
    return "; ".join([*notes, *(f"training was ended by {by}" for by in sorted(set(ended) - {EARLY}))])


def _report_time(asked: Question, name: str, started: float) -> None:
    seconds = time.perf_counter() - started
    if seconds > 1:
        print(f"{asked.name}: {name} took {seconds:.0f} s", flush=True)


def measure(asked: Question, found: Field) -> list[dict[str, Any]]:
    """All rows of one data set, printed as one table."""
    print(f"\n{asked.name}: {len(asked.case.user_ids):,} users, {asked.case.description}; version {asked.version}")
    print(f"flagship: {found.flagship}; share: of the oracle's NDCG@10")
    print(table.ACCURACY_HEAD)
    best = entrants.oracle(asked) if asked.name == "custom_b2b" else None
    rows: list[dict[str, Any]] = []
    for view in views_of(asked, found, best):
        rows += view_rows(asked, view, found)
    if found.targets:
        criteria(found.targets)
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
