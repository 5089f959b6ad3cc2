"""Measures the speed of ranking and evaluation: top ten lists, and the metrics of a full ranking, against the peers.

    python benchmarks/topk.py [--threads 1] [--quick] [--json]

Factors and scores are random numbers from a fixed seed, because their values do not change the amount of work. Each
figure is the best of three, in users per processor second. If the peers' metrics differ from ours by more than 1e-6,
the row gives the difference. A full ranking goes from factors to metrics: ours as in the evaluation report, RecTools'
ranker and metrics, RecBole's trainer, once with its default evaluation batch and once with one as large as ours; the
floor holds against each. The rows below measure the parts: RecTools evaluates given lists, RecBole ranks and evaluates
given scores.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from measuring import result_table
from measuring.synthetic.logs import movielens_like
from numpy.typing import NDArray
from peers.environments import Answer, PeerError, ask, pinned
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from recommenders.evaluation.list_metrics import accuracy_from_scores
from recommenders.evaluation.tasks.task import EvaluationTask, TaskView
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.math.top_k import top_k, top_k_products
from recommenders.metrics import ranking
from recommenders.models.recommender import BLOCK

K, DIM, REPEATS, SEED = 10, 64, 3, 42
N_ITEMS, N_USERS, N_EVALUATED = 3706, 30_000, 6040
TOLERANCE = 1e-6
# RecBole counts its evaluation batch in scores, by default 4096: one user at a time for a catalogue of this size
FULL_RANKING = {
    "rectools": {},
    "recbole, default batch": {},
    f"recbole, {BLOCK} users at once": {"users_at_once": BLOCK},
}
METRICS = {
    "precision": ranking.precision,
    "recall": ranking.recall,
    "hit_rate": ranking.hit_rate,
    "ndcg": ranking.ndcg,
    "mrr": ranking.mrr,
}


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.set_defaults(threads=1)
    options = parser.parse_args()
    started = time.perf_counter()
    n_users, n_evaluated, n_items = (1000, 400, 500) if options.quick else (N_USERS, N_EVALUATED, N_ITEMS)
    print(result_table.HEAD)
    rows = []
    with threadpool_limits(options.threads):
        rows += top_lists(n_users, n_items, not options.no_peers, options.threads)
        rows += full_ranking(n_evaluated, n_items, not options.no_peers, options.threads)
        rows += metrics_rows(n_evaluated, n_items, not options.no_peers, options.threads)
    used = {} if options.no_peers else {of: pinned(of) for of in ("implicit", "rectools", "recbole")}
    result_table.finish("topk", rows, started, options.as_json, used, not (options.quick or options.no_peers))


def best_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """(lowest processor seconds of the runs, result of the last run)."""
    seconds = []
    for _ in range(REPEATS):
        started = time.process_time()
        found = work()
        seconds.append(time.process_time() - started)
    return min(seconds), found


# -- top k


def top_lists(n_users: int, n_items: int, with_peers: bool, threads: int) -> list[dict[str, Any]]:
    """Rows: the k best items of all users from factors, against implicit and torch."""
    rng = np.random.default_rng(SEED)
    users, items = (rng.normal(size=(n, DIM)).astype(np.float32) for n in (n_users, n_items))
    seconds, (_, scores) = best_of(lambda: top_k_products(users, items, K))
    what = f"top {K} of {n_items:,} items from {DIM} factors, {n_users:,} users"
    speed = n_users / seconds
    found: dict[str, float] = {}
    if with_peers:
        found["torch"] = n_users / best_of(lambda: torch_lists(users, items, threads))[0]
        answers = run_peer("implicit", "top_of_factors", {"dim": DIM}, one_event_log(n_users, n_items), threads)
        if answers:
            found["implicit"] = n_users / min(answer.figures["recommend_cpu"] for answer in answers)
            theirs = answers[0].stay
            assert theirs is not None
            check_equal("implicit", np.einsum("nd,nkd->nk", users, items[theirs]), scores)
    bounds = {"floor": 80_000.0, "goal": 100_000.0}
    return [print_row(result_table.row(what, "users/CPU s", speed, one, **bounds)) for one in found.items() or [None]]


def print_row(line: dict[str, Any]) -> dict[str, Any]:
    """Prints a row and returns it."""
    result_table.show(line)
    return line


def torch_lists(users: NDArray[np.float32], items: NDArray[np.float32], threads: int) -> NDArray[np.int64]:
    """(n_users, K) the same lists by torch.topk over blocks of the product."""
    import torch

    torch.set_num_threads(threads)
    left, right = torch.from_numpy(users), torch.from_numpy(items).T.contiguous()
    parts = [(left[start : start + BLOCK] @ right).topk(K).indices for start in range(0, len(left), BLOCK)]
    return torch.cat(parts).numpy()


def one_event_log(n_users: int, n_items: int) -> Interactions:
    """A log of that shape with one event."""
    log, _ = movielens_like(8, 8, 40)
    first = log.select(np.arange(len(log)) < 1)
    ids = (IdMap(np.array([f"{i:09d}" for i in range(n)])) for n in (n_users, n_items))
    return replace(first, users=next(ids), items=next(ids), available=np.ones(n_items, dtype=np.bool_))


# -- metrics


def metrics_rows(n_users: int, n_items: int, with_peers: bool, threads: int) -> list[dict[str, Any]]:
    """Rows: metrics of given lists against RecTools, of given scores against RecBole."""
    rng = np.random.default_rng(SEED)
    scores = rng.normal(size=(n_users, n_items)).astype(np.float32)
    relevant = made_relevance(rng, scores)
    lists = top_k(scores, K)[0]
    from_lists, means = best_of(lambda: mean_metrics(lists, relevant))
    from_scores, _ = best_of(lambda: mean_metrics(np.concatenate(ranked_blocks(scores)), relevant))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for peer, part, given, seconds in (
            ("rectools", "lists", lists, from_lists),
            ("recbole", "scores", scores, from_scores),
        ):
            path = Path(folder) / f"{part}.npy"
            np.save(path, given)
            answers = run_peer(peer, "evaluate", {part: str(path)}, log_of(relevant), threads) if with_peers else []
            value = (peer, n_users / min(one.figures["evaluate_cpu"] for one in answers)) if answers else None
            what = f"{len(METRICS)} metrics of {n_users:,} users from given {part}"
            note = difference_note(answers[0], means) if answers else ""
            rows.append(print_row(result_table.row(what, "users/CPU s", n_users / seconds, value, note=note)))
    return rows


def full_ranking(n_users: int, n_items: int, with_peers: bool, threads: int) -> list[dict[str, Any]]:
    """Rows: from factors to metrics without known items: product, the k best, the mean of each metric."""
    log, task, given = make_task(n_users, n_items)
    users, items = given["users"], np.ascontiguousarray(given["items"].T)
    views = {"all": TaskView(task.relevant, exclude_known=True)}
    seconds, found = best_of(lambda: accuracy_from_scores(lambda rows, _: users[rows] @ items, task, views, K)["all"])
    means = {name: float(np.nanmean(found[f"{name}@{K}"])) for name in METRICS}
    what = f"full ranking of {n_items:,} items and {len(METRICS)} metrics, {len(task.user_rows):,} users"
    speed = len(task.user_rows) / seconds
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.npz"
        np.savez(path, **given)
        for name, params in FULL_RANKING.items():
            job_params = {"given": str(path), **params}
            answers = run_peer(name.partition(",")[0], "rank_and_judge", job_params, log, threads) if with_peers else []
            costs = [answer.figures["evaluate_cpu"] for answer in answers]
            value = (name, len(task.user_rows) / min(costs)) if costs else None
            note = difference_note(answers[0], means) if answers else ""
            rows.append(
                print_row(result_table.row(what, "users/CPU s", speed, value, floor=5.0, on="ratio", note=note))
            )
    return rows


def make_task(n_users: int, n_items: int) -> tuple[Interactions, EvaluationTask, dict[str, NDArray[Any]]]:
    """(log, evaluation task with a fifth of the events as target, user and item factors made from the whole log)."""
    whole, _ = movielens_like(n_users, n_items, 166 * n_users if n_items > 1000 else 30 * n_users)
    later = np.arange(len(whole)) % 5 == 0
    log = whole.select(~later)
    rows, columns = whole.user_rows[later], whole.item_columns[later]
    user_rows, places = np.unique(rows, return_inverse=True)
    ones = np.ones(len(rows), dtype=np.float32)
    relevant = csr_array((ones, (places, columns)), shape=(len(user_rows), n_items))
    relevant.sort_indices()
    rng = np.random.default_rng(SEED)
    items = rng.normal(size=(n_items, DIM)).astype(np.float32)
    users = np.asarray(whole.matrix("binary") @ items, dtype=np.float32)
    given = {"users": users, "items": items, "wanted_users": rows, "wanted_items": columns}
    histories = log.histories()[user_rows]
    ids = log.users.ids[user_rows]
    facts = (log.available, False, "a fifth of a synthetic log", 0, 0)
    return log, EvaluationTask(ids, user_rows.astype(np.int32), histories, relevant, *facts), given


def mean_metrics(lists: NDArray[np.int32], relevant: csr_array) -> dict[str, float]:
    """The mean of each metric."""
    every = ranking.all_metrics(lists, relevant)
    return {name: float(np.nanmean(every[f"{name}@{K}"])) for name in METRICS}


def ranked_blocks(scores: NDArray[np.float32]) -> list[NDArray[np.int32]]:
    """The lists of scores, block by block."""
    return [top_k(scores[start : start + BLOCK], K)[0] for start in range(0, len(scores), BLOCK)]


def made_relevance(rng: np.random.Generator, scores: NDArray[np.float32]) -> csr_array:
    """1 to 40 relevant items per user, more often with high scores, so that the metrics are not all zero."""
    n_users, n_items = scores.shape
    order = np.argsort(-(scores + rng.gumbel(size=scores.shape)), axis=1)
    rows, places = np.nonzero(np.arange(40) < rng.integers(1, 41, size=n_users)[:, None])
    ones = np.ones(len(rows), dtype=np.float32)
    return csr_array((ones, (rows, order[rows, places])), shape=(n_users, n_items))


def log_of(relevant: csr_array) -> Interactions:
    """The relevant items as a log."""
    rows, columns = relevant.nonzero()
    log = one_event_log(*relevant.shape)
    ones = np.ones(len(rows), dtype=np.float32)
    times = np.arange(len(rows), dtype=np.int64)
    return replace(
        log,
        user_rows=rows.astype(np.int32),
        item_columns=columns.astype(np.int32),
        timestamps=times,
        weights=ones,
        strengths=ones,
    )


def difference_note(answer: Answer, means: dict[str, float]) -> str:
    """Whether the peer's means equal ours, as text."""
    worst = max(abs(answer.figures[name] - value) for name, value in means.items())
    return f"numbers agree to {TOLERANCE:g}" if worst <= TOLERANCE else f"numbers DIFFER by {worst:.2g}"


# -- peers


def run_peer(peer: str, model: str, params: dict[str, Any], log: Interactions, threads: int) -> list[Answer]:
    """The answers to REPEATS equal jobs; prints a message and returns [] if the peer is missing."""
    rows = np.arange(len(log.users), dtype=np.int32)
    try:
        return ask(peer, log, rows, [{"model": model, "params": params}] * REPEATS, K, [False], threads, SEED)
    except PeerError as error:
        print(f"{peer} is missing. {error}")
        return []


def check_equal(peer: str, theirs: NDArray[np.float32], ours: NDArray[np.float32]) -> None:
    """Raises ArithmeticError unless the items of both lists have the same scores."""
    if not np.allclose(theirs, ours, rtol=1e-4, atol=1e-4):
        raise ArithmeticError(f"{peer} and ours disagree on the best {K} by {np.abs(theirs - ours).max():.2g}")


if __name__ == "__main__":
    main()
