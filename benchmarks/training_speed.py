"""Measures the cost of training NeuMF, EASE, implicit factors and user neighbours, against peers on a synthetic log.

    python benchmarks/training_speed.py [--only WHAT ...] [--large] [--threads 1] [--quick] [--json]

The log has the size of MovieLens 1M (measuring/synthetic/logs.py); each user's last item is held out. Each model
runs in a separate process with the same number of threads, and fits a small log before the clock starts, so that
imports and compilation do not count. Costs are processor seconds of all threads, so other programs on the machine count
for little; with one thread no waiting counts either. Our models and the peers are measured three times in turn, and the
lowest cost of each counts. NDCG@10 is given beside the speed, to show that speed does not come from lower quality. Rows
that compare us with a peer count the same work on both sides; our own defaults do other work and have separate rows,
which state this. --large trains every model on a log of Retailrocket's size, or prints why it is
skipped.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring import result_table
from measuring.disk_cache import code_version, kept_json, key_of
from measuring.synthetic.logs import made_features, movielens_like, retailrocket_like
from peers.environments import PROCESS, Answer, PeerError, ask, environment, pinned, sources
from peers.process.memory import peak_mb
from scipy.sparse import csr_array, load_npz, save_npz

from recommenders.errors import ModelTooLargeError
from recommenders.events.interactions import Interactions
from recommenders.metrics import ranking
from recommenders.models.all_models import MODELS, model_class
from recommenders.models.ensembles.hybrid import Hybrid
from recommenders.models.recommender import Recommender, TrainingOptions

K = 10
ROUNDS = 3  # of ours and the peers, in turn; the lowest of each counts, because these seconds vary with the load
EPOCHS = 4  # of NeuMF, for the slope: it leaves out what happens once, at the beginning
NEUMF_EVENTS = 250_000  # of its training log; the cost per sample does not depend on their number
NEUMF: dict[str, Any] = {
    "size": 64,
    "layers": [128, 64],
    "batch": 2048,
    "negatives": 4,
    "dropout": 0.1,
    "learning_rate": 0.001,
}
FACTORS, SWEEPS = 64, 15
CG_STEPS = 3  # of conjugate gradients per row, as in implicit, which has no setting for it
SAMPLED_USERS = 500
LARGE_SECONDS, LARGE_MB = 900.0, 4000.0
Log = tuple[Interactions, csr_array]
Figures = dict[str, Any]


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument("--large", action="store_true", help="every model on Retailrocket's size; takes up to an hour")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options.one[0], Path(options.one[1]))
        return
    started = time.perf_counter()
    size = {"n_users": 300, "n_items": 200, "n_pairs": 9_000} if options.quick else {}
    log = movielens_like(**size)
    print(result_table.HEAD)
    rows: list[dict[str, Any]] = []
    for part in options.only:
        try:
            rows += print_rows(PARTS[part](log, not options.no_peers, options.threads))
        except subprocess.CalledProcessError as error:
            rows += print_rows(
                [{**result_table.row(part, "", None, floor=0.0), "note": f"FAILED with {error.returncode}"}]
            )
    if options.large:
        rows += print_rows(large_log(options.quick, options.threads))
    used = {} if options.no_peers else {of: pinned(of) for of in ("recbole", "rectools", "implicit", "lenskit")}
    whole = not (options.quick or options.no_peers) and set(options.only) == set(PARTS)
    result_table.finish("training_speed", rows, started, options.as_json, used, whole)


def print_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Prints the rows and returns them."""
    for line in rows:
        result_table.show(line)
    return rows


# -- the parts


def neumf(log: Log, with_peers: bool, threads: int) -> list[dict[str, Any]]:
    """Samples per processor second at equal widths, rows per step, negatives, threads and rejection of known positives.

    Both are measured by the least-squares slope of the processor seconds at the ends of EPOCHS epochs, in one fit
    without validation. Samples are positives and negatives.
    """
    what = f"NeuMF {NEUMF['size']} + {NEUMF['layers']}, batch {NEUMF['batch']}, {NEUMF['negatives']} uniform negatives"
    kept = np.arange(len(log[0])) % max(len(log[0]) // NEUMF_EVENTS, 1) == 0
    log = (replace(log[0].select(kept), version=f"{log[0].version}-thinned"), log[1])
    samples = len(np.unique(pair_keys(log[0]))) * (1 + NEUMF["negatives"])
    config = {
        "embedding_dim": NEUMF["size"],
        "hidden_layers": NEUMF["layers"],
        "batch_size": NEUMF["batch"] // (1 + NEUMF["negatives"]),  # ours counts the positives, RecBole all samples
        "n_negatives": NEUMF["negatives"],
        "dropout": NEUMF["dropout"],
        "learning_rate": NEUMF["learning_rate"],
        "negative_power": 0.0,
        "half_life_share": None,
        "pretraining_epochs": 0,
        "fixed_epochs": EPOCHS,
    }
    params = {
        "epochs": EPOCHS,
        "negatives": NEUMF["negatives"],
        "batch_size": NEUMF["batch"],
        "learning_rate": NEUMF["learning_rate"],
        "dropout_prob": NEUMF["dropout"],
        "mf_embedding_size": NEUMF["size"],
        "mlp_embedding_size": NEUMF["size"],
        "mlp_hidden_size": NEUMF["layers"],
    }
    mine, peers = [], []
    for number in range(ROUNDS):
        found = ours("neural_collaborative", config, log, threads, lists=False, number=number)
        mine.append(samples / seconds_an_epoch(found["ends"]))
        theirs_found = (
            theirs("recbole", "neumf_epochs", params, log, threads, n_lists=1, number=number) if with_peers else None
        )
        if theirs_found:
            peers.append(theirs_found["samples"] / seconds_an_epoch(theirs_found["ends"]))
    peer = ("RecBole", max(peers)) if peers else None
    line = result_table.row(what, "samples/CPU s", max(mine), peer, floor=1.7, goal=3.0, on="ratio")
    rounds = [f"ours {' '.join(f'{speed:,.0f}' for speed in mine)}"]
    rounds += [f"RecBole's {' '.join(f'{speed:,.0f}' for speed in peers)}"] if peers else []
    return [{**line, "note": f"slope over {EPOCHS} epochs; {ROUNDS} rounds: {'; '.join(rounds)}"}]


def seconds_an_epoch(ends: Sequence[float]) -> float:
    """The least-squares slope of the seconds at the ends of the epochs of one fit; ends: (n_epochs,), two or more."""
    return float(np.polyfit(np.arange(len(ends)), ends, 1)[0])


def ease(log: Log, with_peers: bool, threads: int) -> list[dict[str, Any]]:
    """The fit of EASE."""
    name = "ease"
    if name not in MODELS:
        return [missing_model("EASE: fit", name)]
    params = {"regularization": 500.0, "values": "binary"}
    peers = {"RecTools": partial(theirs, "rectools", "ease", params, log, threads)} if with_peers else {}
    mine, found = measure_in_turn(partial(ours, name, {}, log, threads), peers)
    return cost_rows("EASE", mine, "RecTools", found.get("RecTools"), floor=1.8, goal=1.5)


def ials(log: Log, with_peers: bool, threads: int) -> list[dict[str, Any]]:
    """Alternating least squares with the same factors, sweeps, steps of conjugate gradients and threads."""
    name = "ials"
    if name not in MODELS:
        return [missing_model("implicit factors: fit", name)]
    params = {"factors": FACTORS, "iterations": SWEEPS, "values": "binary"}
    tried = [partial(theirs, "implicit", "als", params | tuned, log, threads) for tuned in ALS_TRIED]
    peers = {str(number): one for number, one in enumerate(tried)} if with_peers else {}
    config = {"embedding_dim": FACTORS, "epochs": SWEEPS}
    mine, by_peer = measure_in_turn(partial(ours, name, {**config, "solver_steps": CG_STEPS}, log, threads), peers)
    found = max(by_peer.values(), key=lambda one: one["ndcg"], default=None)
    what = f"implicit factors, {FACTORS} factors, {SWEEPS} sweeps, {CG_STEPS} steps"
    rows = cost_rows(what, mine, "implicit", found, floor=None, goal=None)
    peer = ("implicit", found["fit_cpu"]) if found else None
    rows[0] = result_table.row(f"{what}: fit", "CPU s", mine["fit_cpu"], peer, 1.0, on="ratio", lower_is_better=True)
    default = lowest_costs([ours(name, config, log, threads, number=number) for number in range(ROUNDS)])
    words = f"implicit factors, {FACTORS} factors, {SWEEPS} sweeps, our default of fewer steps"
    return rows + cost_rows(words, default, "", None, floor=None, goal=None)


ALS_TRIED = [{"regularization": reg, "alpha": alpha} for reg in (0.1, 10.0) for alpha in (1.0, 4.0)]


def user_neighbours(log: Log, with_peers: bool, threads: int) -> list[dict[str, Any]]:
    """Fit and top ten lists of all users, against the fastest peer; LensKit makes the lists of a sample of users.

    SAME_JOB does the same work as the peers: from the matrix (ours: the log) to the k nearest users of each user by
    plain cosine over the user's whole history, with the neighbours' items summed and known items left out. implicit has
    no such model: its neighbour search runs over users, and scipy computes the sum. Two more rows measure only our
    model: with our weights over the whole history, and with our default, which uses only the newest visits and so a
    part of the pairs.
    """
    name = "collaborative_filtering"
    neighbours = model_class(name).Config().model_dump()["n_neighbours"]
    n = min(SAMPLED_USERS, len(log[0].users))  # LensKit ranks one user at a time, so the cost of a sample is scaled up
    peers = {
        "implicit": partial(theirs, "implicit", "user_neighbours", {"K": neighbours}, log, threads),
        "LensKit": partial(theirs, "lenskit", "user_neighbours", {"max_nbrs": neighbours}, log, threads, n),
    }
    mine, found = measure_in_turn(partial(ours, name, SAME_JOB, log, threads), peers if with_peers else {})
    if "LensKit" in found:
        found["LensKit"]["recommend_cpu"] *= len(log[0].users) / n
    total = {of: one["fit_cpu"] + one["recommend_cpu"] for of, one in found.items()}
    fastest = min(total, key=lambda of: total[of], default=None)
    what = f"user neighbours, k = {neighbours}, plain cosine, all pairs"
    work = f"{what}: fit and top {K} of all users"
    rows = []
    for of in total or [None]:
        peer = (of, total[of]) if of else None
        floor = 2.0 if of == fastest else None
        rows.append(
            result_table.row(work, "CPU s", total_cpu(mine), peer, floor=floor, on="ratio", lower_is_better=True)
        )
    for of, one in found.items():
        rows.append(result_table.row(f"{what}: quality", "NDCG@10", mine["ndcg"], (of, one["ndcg"])))
    visits = model_class(name).Config().model_dump()["max_visits"]
    alone = {"our weights, all pairs": {"max_visits": None}, f"our default, newest {visits} visits": {}}
    for words, config in alone.items():
        own = lowest_costs([ours(name, config, log, threads, number=number) for number in range(ROUNDS)])
        label = f"user neighbours, k = {neighbours}, {words} (other work than the peers')"
        rows.append(result_table.row(f"{label}: fit and top {K}", "CPU s", total_cpu(own)))
        rows.append(result_table.row(f"{label}: quality", "NDCG@10", own["ndcg"]))
    return rows


# of collaborative_filtering: plain cosine of user histories, neighbours weighted by it, whole history as the query
SAME_JOB = {
    "max_visits": None,
    "recency_visits": None,
    "shrinkage": 0.0,
    "similarity_power": 1.0,
    "item_damping": 0.0,
    "repeat_share": 0.0,
}


def total_cpu(figures: Figures) -> float:
    """Processor seconds of the fit and the lists together."""
    return float(figures["fit_cpu"] + figures["recommend_cpu"])


PARTS: dict[str, Callable[[Log, bool, int], list[dict[str, Any]]]] = {
    "neumf": neumf,
    "ease": ease,
    "ials": ials,
    "user_neighbours": user_neighbours,
}


def large_log(quick: bool, threads: int) -> list[dict[str, Any]]:
    """Every model on a log of Retailrocket's size; the ensembles are left out, because they combine other models."""
    log = retailrocket_like(3000, 800, 6000) if quick else retailrocket_like()
    no_targets = csr_array(log.shape, dtype=np.float32)
    rows = []
    for name in MODELS:
        model = model_class(name)()
        if isinstance(model, Hybrid) or name.startswith("hybrid"):
            continue
        needed, allowed = model.memory_needed(log) / 1e6, TrainingOptions().max_memory_mb
        if needed > allowed:
            reason = str(ModelTooLargeError(name, log.shape, needed, allowed))
            rows.append({**result_table.row(f"{log.shape} large: {name} is skipped", "s", None), "note": reason})
            continue
        try:
            mine = ours(name, {}, (log, no_targets), threads, lists=False)
        except subprocess.CalledProcessError as error:
            rows.append(
                {**result_table.row(f"{log.shape} large: {name}", "s", None, floor=LARGE_SECONDS), "note": str(error)}
            )
            continue
        what = f"{log.shape[0]:,} users, {log.shape[1]:,} items: {name}"
        line = result_table.row(f"{what} fit", "s", mine["fit_wall"], floor=LARGE_SECONDS, lower_is_better=True)
        rows.append(line)
        rows.append(result_table.row(f"{what} peak", "MB", mine["peak_mb"], floor=LARGE_MB, lower_is_better=True))
        rows[-1]["note"] = f"estimated memory {needed:,.0f} MB"
    return rows


# -- rows


def cost_rows(
    what: str, mine: Figures, peer: str, found: Figures | None, floor: float | None, goal: float | None
) -> list[dict[str, Any]]:
    """Rows: processor seconds of the fit (floor and goal apply to ours), quality, and peak memory."""

    def line(part: str, unit: str, figure: str, lower: bool, **bounds: float | None) -> dict[str, Any]:
        value = (peer, found[figure]) if found else None
        return result_table.row(f"{what}: {part}", unit, mine[figure], value, lower_is_better=lower, **bounds)

    return [
        line("fit", "CPU s", "fit_cpu", True, floor=floor, goal=goal),
        line("quality", "NDCG@10", "ndcg", False),
        line("peak memory", "MB", "peak_mb", True),
    ]


def missing_model(what: str, name: str) -> dict[str, Any]:
    """The row of a model that does not exist."""
    return {**result_table.row(what, "CPU s", None), "note": f"there is no model {name}"}


def pair_keys(log: Interactions) -> Any:
    """(n_events,) a number for each pair of user and item."""
    return log.user_rows.astype(np.int64) * len(log.items) + log.item_columns


# -- measurements


def measure_in_turn(
    mine: Callable[..., Figures], peers: dict[str, Callable[..., Figures | None]]
) -> tuple[Figures, dict[str, Figures]]:
    """Our figures and those of each peer that is not missing, each measured ROUNDS times, in turn."""
    rounds = [(mine(number=n), {name: one(number=n) for name, one in peers.items()}) for n in range(ROUNDS)]
    by_peer = {name: [figures for _, found in rounds if (figures := found[name])] for name in peers}
    return lowest_costs([own for own, _ in rounds]), {name: lowest_costs(of) for name, of in by_peer.items() if of}


def lowest_costs(rounds: list[Figures]) -> Figures:
    """The figures of the first round, with each cost replaced by the lowest of all rounds."""
    costs = [cost for cost in ("fit_cpu", "recommend_cpu", "peak_mb") if cost in rounds[0]]
    return rounds[0] | {cost: min(figures[cost] for figures in rounds) for cost in costs}


def round_key(number: int) -> tuple[Any, ...]:
    """The cache key of one round, the same for ours and the peers, so that both are measured again together."""
    return (number, code_version(), *(path.read_text() for path in (Path(__file__), PROCESS / "task.py")))


def theirs(
    peer: str, model: str, params: dict[str, Any], log: Log, threads: int, n_lists: int | None = None, number: int = 0
) -> Figures | None:
    """A peer's figures with the NDCG of its lists; prints a message and returns None if the peer is missing.

    number: of the round.
    """
    rows = np.arange(n_lists or len(log[0].users), dtype=np.int32)

    def make() -> Figures:
        job = {"model": model, "params": params}
        answer: Answer = ask(peer, log[0], rows, [job], K, [True], threads, warm=True)[0]
        assert answer.masked is not None
        return {**answer.figures, "ndcg": float(np.nanmean(ranking.ndcg(answer.masked, log[1][: len(rows)])))}

    key = key_of(peer, model, params, log[0].version, len(rows), threads, sources(peer), round_key(number))
    try:
        figures: Figures = kept_json(key, make)
    except PeerError as error:
        print(f"{peer} is missing. {error}")
        return None
    return figures


def ours(name: str, config: dict[str, Any], log: Log, threads: int, lists: bool = True, number: int = 0) -> Figures:
    """The figures of one of our models, measured in a separate process."""
    key = key_of(name, config, log[0].version, threads, lists, round_key(number))

    def make() -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            log[0].save(Path(folder) / "log")
            save_npz(Path(folder) / "targets.npz", log[1])
            (Path(folder) / "request.json").write_text(
                json.dumps({"config": config, "lists": lists, "threads": threads})
            )
            command = [sys.executable, __file__, "--one", name, folder]
            done = subprocess.run(command, env=environment(threads), check=True, stdout=subprocess.PIPE, text=True)
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        return figures

    figures: Figures = kept_json(key, make)
    return figures


def run_one(name: str, folder: Path) -> None:
    """Fits one model, ranks for all users, and prints its figures."""
    request = json.loads((folder / "request.json").read_text())
    log, targets = Interactions.load(folder / "log"), csr_array(load_npz(folder / "targets.npz"))
    config = model_class(name).Config.model_validate(request["config"])
    small = log.select(np.arange(len(log)) < 3000)
    features = made_features(len(log.items)) if model_class(name).uses_features else None
    recommend_all(model_class(name)(config).fit(small, features), 20)  # imports, compiled code
    clock = EpochClock()
    wall, processor = time.perf_counter(), time.process_time()
    # no folder of checkpoints: all epochs are measured
    options = TrainingOptions(threads=request["threads"], on_epoch=clock)
    model = model_class(name)(config).fit(log, features, options)
    figures: Figures = {"fit_cpu": time.process_time() - processor, "fit_wall": time.perf_counter() - wall}
    figures["ends"] = [end - processor for end in clock.ends]
    if request["lists"]:
        processor = time.process_time()
        lists = recommend_all(model, len(log.users))
        figures["recommend_cpu"] = time.process_time() - processor
        figures["ndcg"] = float(np.nanmean(ranking.ndcg(lists, targets)))
    figures["peak_mb"] = peak_mb()  # lists included, as in the peers' figures
    print(json.dumps(figures))


class EpochClock:
    """Records the processor seconds at the end of each epoch of a network."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def __call__(self, epoch: int, metrics: dict[str, float]) -> None:
        """Called after each epoch."""
        self.ends.append(time.process_time())


def recommend_all(model: Recommender, n_users: int) -> Any:
    """(n_users, K) lists without known items; the histories are those of the model, as in the peers' runs."""
    rows = np.arange(n_users, dtype=np.int32)
    return model.recommend(rows, model.histories_[:n_users], K, exclude_known=True).item_columns


if __name__ == "__main__":
    main()
