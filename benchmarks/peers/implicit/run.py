"""Models of implicit (Ben Frederickson): alternating least squares, item neighbours, user neighbours, the top k."""

from collections.abc import Callable

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.topk import topk
from implicit.nearest_neighbours import (
    BM25Recommender,
    CosineRecommender,
    ItemItemRecommender,
    TFIDFRecommender,
    all_pairs_knn,
    normalize,
)
from task import Job, Lists, first_candidates, serve, top_lists

KINDS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
BLOCK = 512


def als(job: Job) -> Callable[[bool], Lists]:
    """params: factors, regularization, alpha, iterations, values."""
    params = dict(job.params)
    matrix = job.matrix(params.pop("values", "count"))
    model = AlternatingLeastSquares(**params, num_threads=job.threads, random_state=job.seed)
    with job.measured("fit"):
        model.fit(matrix, show_progress=False)
    return recommending(model, matrix, job, -np.finfo(np.float32).max)


def item_neighbours(job: Job) -> Callable[[bool], Lists]:
    """params: kind (cosine, tfidf, bm25), K, values and, for bm25, K1 and B."""
    params = dict(job.params)
    matrix = job.matrix(params.pop("values", "count"))
    model = KINDS[params.pop("kind")](**params, num_threads=job.threads)
    with job.measured("fit"):
        model.fit(matrix, show_progress=False)
    return recommending(model, matrix, job, 0.0)


def recommending(
    model: AlternatingLeastSquares | ItemItemRecommender, matrix: object, job: Job, lowest: float
) -> Callable[[bool], Lists]:
    """The library's own recommend for all users at once.

    lowest: the score of what it filters out, which stands last in its lists: the lowest there is, or, of neighbours,
    whose scores are above it, 0.
    """

    def lists_of(exclude_known: bool) -> Lists:
        ranked, scores = model.recommend(
            job.user_rows, matrix[job.user_rows], N=job.depth, filter_already_liked_items=exclude_known
        )
        return first_candidates(np.where(scores <= lowest, -1, ranked), job)

    return lists_of


def user_neighbours(job: Job) -> Callable[[bool], Lists]:
    """params: K. Its neighbour search over buyers; their items are summed here, in blocks of a sparse product."""
    matrix = job.matrix("binary")
    with job.measured("fit"):
        similar = all_pairs_knn(normalize(matrix).T.tocsr(), job.params["K"] + 1, False, job.threads).tocsr()
        similar.setdiag(0)

    def lists_of(exclude_known: bool) -> Lists:
        parts = []
        for start in range(0, len(job.user_rows), BLOCK):
            rows = job.user_rows[start : start + BLOCK]
            scores = (similar[rows] @ matrix).toarray().astype(np.float32)
            parts.append(top_lists(scores, job, matrix[rows] if exclude_known else None))
        return np.concatenate(parts)

    return lists_of


def top_of_factors(job: Job) -> Callable[[bool], Lists]:
    """params: dim. The k best of made-up factors (seeded, normal) for all buyers."""
    rng = np.random.default_rng(job.seed)
    users, items = (rng.normal(size=(n, job.params["dim"])).astype(np.float32) for n in job.shape)

    def lists_of(exclude_known: bool) -> Lists:
        return topk(items, users[job.user_rows], job.k, num_threads=job.threads)[0].astype(np.int32)

    return lists_of


if __name__ == "__main__":
    models = {"als": als, "item_neighbours": item_neighbours}
    serve("implicit", {**models, "user_neighbours": user_neighbours, "top_of_factors": top_of_factors})
