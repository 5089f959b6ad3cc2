"""RecTools' two-stage model: candidates of four models, put in order by CatBoost's boosted trees."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from catboost import CatBoostClassifier, CatBoostRanker
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender
from rectools import Columns
from rectools.dataset import Dataset
from rectools.model_selection import LastNSplitter, TimeRangeSplitter
from rectools.models import EASEModel, ImplicitALSWrapperModel, ImplicitItemKNNWrapperModel, PopularModel
from rectools.models.ranking import (
    CandidateFeatureCollector,
    CandidateGenerator,
    CandidateRankingModel,
    CatBoostReranker,
    PerUserNegativeSampler,
)
from task import Job, Lists

DAY = 86_400.0
LOSSES = {"logloss": CatBoostClassifier, "pairs": CatBoostRanker, "listwise": CatBoostRanker}
LOSS_NAMES = {"logloss": "Logloss", "pairs": "YetiRank", "listwise": "QuerySoftMax"}


class Features(CandidateFeatureCollector):
    """What a log says of users, items and pairs as of its newest event: counts, and days since the last one."""

    def _get_user_features(self, users: Any, dataset: Dataset, fold_info: Any) -> pd.DataFrame:
        found = counted(dataset, [Columns.User], "user")
        distinct = dataset.get_raw_interactions().groupby(Columns.User)[Columns.Item].nunique().rename("user_items")
        return found.merge(distinct.reset_index(), on=Columns.User)

    def _get_item_features(self, items: Any, dataset: Dataset, fold_info: Any) -> pd.DataFrame:
        return counted(dataset, [Columns.Item], "item")

    def _get_user_item_features(self, useritem: pd.DataFrame, dataset: Dataset, fold_info: Any) -> pd.DataFrame:
        return counted(dataset, Columns.UserItem, "pair")


def counted(dataset: Dataset, by: list[str], name: str) -> pd.DataFrame:
    """Events, summed weight, days since the first and the last event of each user, item or pair."""
    table = dataset.get_raw_interactions()
    times = table[Columns.Datetime]
    table = table.assign(age=(times.max() - times).dt.total_seconds() / DAY)
    found = table.groupby(by).agg(events=("age", "size"), last=("age", "min"), first=("age", "max"))
    found["weight"] = table.groupby(by)[Columns.Weight].sum()
    return found.add_prefix(f"{name}_").reset_index()


def two_stage(job: Job) -> Callable[[bool], Lists]:
    """params: candidates (of each model), loss, negatives (of each user; None: all), new_only, and CatBoost's own.

    The trees learn from the newest window of the log, as long as the one that is asked about, or from each user's
    newest event where that is asked; candidates are then made anew from the whole log. new_only: whether items that a
    user knew before the window are left out when the trees learn.
    """
    params = dict(job.params)
    events = {Columns.User: job.event_users, Columns.Item: job.event_items, Columns.Weight: job.event_weights}
    times = pd.to_datetime(job.event_timestamps, unit="us")
    dataset = Dataset.construct(pd.DataFrame({**events, Columns.Datetime: times}))
    with job.measured("fit"):
        model = model_of(job, params).fit(dataset)
    offered = None if job.candidates.all() else np.intersect1d(np.flatnonzero(job.candidates), job.items)

    def lists_of(exclude_known: bool) -> Lists:
        return as_lists(model.recommend(job.user_rows, dataset, job.k, exclude_known, offered), job)

    return lists_of


def model_of(job: Job, params: dict[str, Any]) -> CandidateRankingModel:
    """The model with its first and second stage, not fitted."""
    n_candidates = params.pop("candidates")
    new_only, negatives = params.pop("new_only", not job.repeat), params.pop("negatives")
    first_stage = [
        EASEModel(500.0, recommend_n_threads=job.threads, recommend_use_gpu_ranking=False),
        ImplicitALSWrapperModel(
            AlternatingLeastSquares(64, 10.0, 4.0, num_threads=job.threads, random_state=job.seed),
            recommend_n_threads=job.threads,
            recommend_use_gpu_ranking=False,
        ),
        ImplicitItemKNNWrapperModel(BM25Recommender(K=200, num_threads=job.threads)),
        PopularModel(),
    ]
    loss = params.pop("loss")
    trees = LOSSES[loss](
        loss_function=LOSS_NAMES[loss],
        thread_count=job.threads,
        random_seed=job.seed,
        verbose=False,
        allow_writing_files=False,
        **params,
    )
    return CandidateRankingModel(
        [CandidateGenerator(one, n_candidates, keep_ranks=True, keep_scores=True) for one in first_stage],
        splitter_of(job, new_only),
        CatBoostReranker(trees),
        sampler=PerUserNegativeSampler(negatives or 10**9, job.seed),
        feature_collector=Features(),
    )


def splitter_of(job: Job, new_only: bool) -> TimeRangeSplitter | LastNSplitter:
    """The window that the trees learn from."""
    if job.horizon_days:
        return TimeRangeSplitter(f"{round(job.horizon_days)}D", n_splits=1, filter_already_seen=new_only)
    return LastNSplitter(1, n_splits=1, filter_already_seen=new_only)


def as_lists(best: pd.DataFrame, job: Job) -> Lists:
    """(n, k) of RecTools' table of recommendations, -1 past the last."""
    lists = np.full((len(job.user_rows), job.k), -1, dtype=np.int32)
    rows = np.searchsorted(job.user_rows, best[Columns.User].to_numpy())
    lists[rows, best[Columns.Rank].to_numpy() - 1] = best[Columns.Item].to_numpy()
    return lists
