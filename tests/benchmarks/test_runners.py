"""A runner's lists without known items contain none, and its other lists contain them.

The libraries of the peers have environments of their own. Stand-ins have the part of their interface that a runner
uses, with the libraries' own names and order of arguments, and they leave out known items where they are asked to.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import task
from scipy.sparse import csr_matrix

N_USERS, N_ITEMS, K = 3, 8, 4
KNOWN = {0: {0, 1}, 1: {7}, 2: {0, 3, 5}}
KINDS = ("BM25Recommender", "CosineRecommender", "ItemItemRecommender", "TFIDFRecommender")
SCORES = np.arange(N_ITEMS, 0, -1, dtype=np.float32)  # of every user: item 0 is the best


def job_of(model: str, **params: Any) -> task.Job:
    users, items = np.array([(user, item) for user, known in KNOWN.items() for item in sorted(known)], np.int32).T
    ones, times = np.ones(len(users), np.float32), np.arange(len(users), dtype=np.int64)
    pairs = dict(zip(task.PAIRS, (users, items, ones, times), strict=True))
    events = dict(zip(task.EVENTS, (users, items, ones, times), strict=True))
    return task.Job(
        model,
        params,
        **pairs,
        **events,
        shape=(N_USERS, N_ITEMS),
        user_rows=np.arange(N_USERS, dtype=np.int32),
        candidates=np.ones(N_ITEMS, dtype=np.bool_),
        horizon_days=0.0,
        repeat=True,
        k=K,
        exclude_known=(False, True),
        threads=1,
        seed=0,
        epochs=1,
        patience=1,
        seconds=1.0,
    )


def expect_lists(lists_of: Callable[[bool], np.ndarray]) -> None:
    for exclude_known in (False, True, False):  # in any order
        expected = [
            [item for item in range(N_ITEMS) if not (exclude_known and item in known)][:K] for known in KNOWN.values()
        ]
        assert lists_of(exclude_known).tolist() == expected, exclude_known


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, dict[str, Any]]], ModuleType]:
    """A function: name of a runner, stand-ins (module -> its names) -> the runner's module."""

    def load(name: str, stand_ins: dict[str, dict[str, Any]]) -> ModuleType:
        for module, names in stand_ins.items():
            monkeypatch.setitem(sys.modules, module, SimpleNamespace(**names))
        monkeypatch.delitem(sys.modules, name, raising=False)
        found = importlib.import_module(name)
        monkeypatch.delitem(sys.modules, name)  # no other test gets a runner with stand-ins
        return found

    return load


class ImplicitNeighbours:
    """Known items that are filtered out stand last, with the score of an item without neighbours."""

    lowest = 0.0

    def __init__(self, **_: Any) -> None:
        pass

    def fit(self, user_items: csr_matrix, show_progress: bool = True) -> None:
        pass

    def recommend(
        self, userid: Any, user_items: csr_matrix, N: int = 10, filter_already_liked_items: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        scores = np.tile(SCORES, (len(userid), 1))
        if filter_already_liked_items:
            scores[user_items.nonzero()] = self.lowest
        ranked = np.argsort(-scores, axis=1, kind="stable")[:, :N]
        return ranked, np.take_along_axis(scores, ranked, axis=1)


class ImplicitFactors(ImplicitNeighbours):
    """The same with the lowest score there is."""

    lowest = -float(np.finfo(np.float32).max)


def implicit() -> dict[str, dict[str, Any]]:
    def all_pairs_knn(items: csr_matrix, *_: Any) -> csr_matrix:
        return csr_matrix(np.ones((items.shape[1], items.shape[1])))  # all users are alike

    kinds = dict.fromkeys(KINDS, ImplicitNeighbours)
    search = {"all_pairs_knn": all_pairs_knn, "normalize": lambda matrix: matrix}
    return {
        "implicit.cpu.als": {"AlternatingLeastSquares": ImplicitFactors},
        "implicit.cpu.topk": {"topk": None},
        "implicit.nearest_neighbours": kinds | search,
    }


def test_implicit_leaves_out_known_items_on_request(runner: Any) -> None:
    module = runner("peers.implicit.run", implicit())
    expect_lists(module.als(job_of("als")))
    for kind in module.KINDS:
        expect_lists(module.item_neighbours(job_of("item_neighbours", kind=kind)))


def test_user_neighbours_leave_out_known_items_on_request(runner: Any) -> None:
    """All users are neighbours, so that an item that others have gets a score; users 0 and 2 share item 0."""
    lists_of = runner("peers.implicit.run", implicit()).user_neighbours(job_of("user_neighbours", K=2))
    stay, masked = ([{*row} for row in lists_of(exclude_known).tolist()] for exclude_known in (False, True))
    assert 0 in stay[0] & stay[2]
    assert not any(known & masked[user] for user, known in KNOWN.items())


class EASEModel:
    def __init__(self, regularization: float, **_: Any) -> None:
        pass

    def fit(self, dataset: pd.DataFrame) -> None:
        pass

    def recommend(
        self, users: np.ndarray, dataset: pd.DataFrame, k: int, filter_viewed: bool, items_to_recommend: Any = None
    ) -> pd.DataFrame:
        known = set(zip(dataset["user_id"], dataset["item_id"], strict=True)) if filter_viewed else set()
        rows = []
        for user in users:
            best = [item for item in np.argsort(-SCORES) if (user, item) not in known][:k]
            rows += [(user, item, place + 1) for place, item in enumerate(best)]
        return pd.DataFrame(rows, columns=["user_id", "item_id", "rank"])


def test_rectools_ease_leaves_out_known_items_on_request(runner: Any) -> None:
    columns = {"User": "user_id", "Item": "item_id", "Weight": "weight", "Datetime": "datetime", "Rank": "rank"}
    metrics = ("MRR", "NDCG", "HitRate", "Precision", "Recall", "calc_metrics")
    stand_ins = {
        "rectools": {"Columns": SimpleNamespace(**columns)},
        "rectools.dataset": {"Dataset": SimpleNamespace(construct=lambda table: table)},
        "rectools.metrics": dict.fromkeys(metrics),
        "rectools.models": {"EASEModel": EASEModel},
        "rectools.models.rank": {"Distance": None, "ImplicitRanker": None},
    }
    expect_lists(runner("peers.rectools.run", stand_ins).ease(job_of("ease", regularization=1.0)))


class LensKitScorer:
    """Scores every item that it is asked about, known or not."""

    def __init__(self, **_: Any) -> None:
        pass

    def train(self, data: Any, options: Any) -> None:
        pass

    def __call__(self, query: Any, items: SimpleNamespace) -> SimpleNamespace:
        return SimpleNamespace(scores=lambda: SCORES[items.vocabulary.ids()[items.item_nums]])


@pytest.mark.parametrize("model", ["als", "item_neighbours", "user_neighbours"])
def test_lenskit_leaves_out_known_items_on_request(runner: Any, model: str) -> None:
    def from_interactions_df(table: pd.DataFrame) -> SimpleNamespace:
        return SimpleNamespace(items=SimpleNamespace(ids=lambda: np.arange(N_ITEMS)), user_row=lambda row: None)

    names = {"ItemList": SimpleNamespace, "RecQuery": SimpleNamespace, "from_interactions_df": from_interactions_df}
    stand_ins = {
        "lenskit.als": {"ImplicitMFScorer": LensKitScorer},
        "lenskit.data": names,
        "lenskit.knn": {"ItemKNNScorer": LensKitScorer, "UserKNNScorer": LensKitScorer},
        "lenskit.training": {"TrainingOptions": SimpleNamespace},
    }
    expect_lists(runner("peers.lenskit.run", stand_ins).scorer(job_of(model)))
