"""Models and metrics of RecTools (MTS): EASE, and its evaluation of given lists."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.metrics import MRR, NDCG, HitRate, Precision, Recall, calc_metrics
from rectools.models import EASEModel
from rectools.models.rank import Distance, ImplicitRanker
from task import Job, Lists, serve


def ease(job: Job) -> Callable[[bool], Lists]:
    """params: regularization, values."""
    table = pd.DataFrame(
        {
            Columns.User: job.users,
            Columns.Item: job.items,
            Columns.Weight: job.values(job.params.get("values", "count")),
            Columns.Datetime: pd.to_datetime(job.timestamps, unit="us"),
        }
    )
    dataset = Dataset.construct(table)
    model = EASEModel(job.params["regularization"], recommend_n_threads=job.threads, recommend_use_gpu_ranking=False)
    with job.measured("fit"):
        model.fit(dataset)
    offered = None if job.candidates.all() else np.intersect1d(np.flatnonzero(job.candidates), job.items)

    def lists_of(exclude_known: bool) -> Lists:
        best = model.recommend(job.user_rows, dataset, job.k, exclude_known, offered)
        lists = np.full((len(job.user_rows), job.k), -1, dtype=np.int32)
        rows = np.searchsorted(job.user_rows, best[Columns.User].to_numpy())
        lists[rows, best[Columns.Rank].to_numpy() - 1] = best[Columns.Item].to_numpy()
        return lists

    return lists_of


def evaluate(job: Job) -> Callable[[bool], Lists]:
    """The log's pairs are what was wanted; params: lists, a file of (n_users, k) columns. Adds each metric's mean."""
    lists = np.load(job.params["lists"])
    n, k = lists.shape
    ranked = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(n), k),
            Columns.Item: lists.ravel(),
            Columns.Rank: np.tile(np.arange(k) + 1, n),
        }
    )
    wanted = pd.DataFrame({Columns.User: job.users, Columns.Item: job.items})
    with job.measured("evaluate"):
        found = calc_metrics(metrics_at(k), ranked, wanted)
    for name, value in found.items():
        job.add(name, float(value))
    return lambda exclude_known: lists.astype(np.int32)


def metrics_at(k: int) -> dict[str, Any]:
    """Under the names that they have with us; its MAP divides otherwise and is left out."""
    return {
        "precision": Precision(k),
        "recall": Recall(k),
        "hit_rate": HitRate(k),
        "ndcg": NDCG(k, divide_by_achievable=True),
        "mrr": MRR(k),
    }


def rank_and_judge(job: Job) -> Callable[[bool], Lists]:
    """A full ranking by RecTools' ranker and metrics, known items left out. Adds each metric's mean.

    params: given, a file of users and items (vectors), wanted_users and wanted_items (pairs).
    """
    given = np.load(job.params["given"])
    wanted = pd.DataFrame({Columns.User: given["wanted_users"], Columns.Item: given["wanted_items"]})
    known = job.matrix()[job.user_rows]
    with job.measured("evaluate"):
        ranker = ImplicitRanker(Distance.DOT, given["users"], given["items"], num_threads=job.threads)
        users, items, _ = ranker.rank(job.user_rows, job.k, filter_pairs_csr=known)
        ranked = pd.DataFrame({Columns.User: users, Columns.Item: items})
        ranked[Columns.Rank] = ranked.groupby(Columns.User, sort=False).cumcount() + 1
        found = calc_metrics(metrics_at(job.k), ranked, wanted)
    for name, value in found.items():
        job.add(name, float(value))
    return lambda exclude_known: np.full((len(job.user_rows), job.k), -1, dtype=np.int32)


def two_stage(job: Job) -> Callable[[bool], Lists]:
    """Its params are those of two_stage.py; imported here, so that EASE's process does not hold CatBoost."""
    from two_stage import two_stage

    return two_stage(job)


def sasrec(job: Job) -> Callable[[bool], Lists]:
    """Its params are those of sasrec.py; imported here, so that EASE's process does not hold torch."""
    from sasrec import sasrec

    return sasrec(job)


if __name__ == "__main__":
    models = {"ease": ease, "two_stage": two_stage, "sasrec": sasrec}
    serve("rectools", {**models, "evaluate": evaluate, "rank_and_judge": rank_and_judge})
