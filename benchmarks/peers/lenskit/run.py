"""Models of LensKit: user neighbours, item neighbours, implicit ALS; asked one buyer at a time, as its pipelines do."""

import functools
from collections.abc import Callable

import numpy as np
import pandas as pd
from lenskit.als import ImplicitMFScorer
from lenskit.data import ItemList, RecQuery, from_interactions_df
from lenskit.knn import ItemKNNScorer, UserKNNScorer
from lenskit.training import TrainingOptions
from numpy.typing import NDArray
from task import Job, Lists, serve, top_lists

BLOCK = 512
SCORERS = {"user_neighbours": UserKNNScorer, "item_neighbours": ItemKNNScorer, "als": ImplicitMFScorer}


def scorer(job: Job) -> Callable[[bool], Lists]:
    """params: those of the scorer's own configuration, and values."""
    params = dict(job.params)
    values = job.values(params.pop("values", "count"))
    table = pd.DataFrame({"user_id": job.users, "item_id": job.items, "rating": values})
    data = from_interactions_df(table)
    if job.model != "als":
        params["feedback"] = "implicit"
    model = SCORERS[job.model](**params)
    with job.measured("fit"):
        model.train(data, TrainingOptions(rng=job.seed))
    known = job.matrix()
    columns = np.asarray(data.items.ids(), dtype=np.int64)
    everything = ItemList(item_nums=np.arange(len(columns), dtype=np.int32), vocabulary=data.items)

    @functools.cache  # scores serve both kinds of list
    def scores_of(start: int) -> NDArray[np.float32]:
        rows = job.user_rows[start : start + BLOCK]
        scores = np.full((len(rows), job.shape[1]), np.nan, dtype=np.float32)
        for place, row in enumerate(rows):
            query = RecQuery(user_id=int(row), user_items=data.user_row(int(row)))
            scores[place, columns] = model(query, everything).scores()
        return scores

    def lists_of(exclude_known: bool) -> Lists:
        parts = []
        for start in range(0, len(job.user_rows), BLOCK):
            rows = job.user_rows[start : start + BLOCK]
            parts.append(top_lists(scores_of(start), job, known[rows] if exclude_known else None))
        return np.concatenate(parts)

    return lists_of


if __name__ == "__main__":
    serve("lenskit", dict.fromkeys(SCORERS, scorer))
