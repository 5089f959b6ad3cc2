"""NeuMF, SASRec and the metric code of RecBole."""

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.utils import create_samplers, get_dataloader
from recbole.evaluator import Collector, Evaluator
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.model.general_recommender import NeuMF
from recbole.trainer import Trainer
from recbole.utils import InputType, init_seed
from task import Job, Lists, serve, top_lists
from training import sequences, trained

BLOCK = 64  # buyers whose pairs with every item are predicted at once
METRICS = {"Precision": "precision", "Recall": "recall", "Hit": "hit_rate", "NDCG": "ndcg", "MRR": "mrr"}


def neumf(job: Job) -> Callable[[bool], Lists]:
    """params: learning_rate, dropout_prob, the widths of RecBole's NeuMF, negatives, batch_size."""
    params = dict(job.params)
    model, dataset = trained(job, "NeuMF", params, params.pop("negatives"))
    rows, columns = numbers_of(dataset, job)
    return ranking(job, lambda some: predicted(model, rows[some], columns))


def sasrec(job: Job) -> Callable[[bool], Lists]:
    """params: learning_rate, widths, layers, heads and dropout of RecBole's SASRec, batch_size."""
    model, dataset = trained(job, "SASRec", dict(job.params), None)
    return ranking(job, sequences(job, model, numbers_of(dataset, job)[1]))


def neumf_epochs(job: Job) -> Callable[[bool], Lists]:
    """params: epochs, negatives, batch_size, learning_rate and the widths. A fixed number of epochs, no validation.

    Figures: samples (positives and negatives) of one epoch; ends, the processor seconds at the end of each.
    """
    torch.set_num_threads(job.threads)
    model, dataset = _epochs(job, dict(job.params), job.params["epochs"])
    job.add("samples", len(job.users) * (1 + job.params["negatives"]))
    rows, columns = numbers_of(dataset, job)
    return ranking(job, lambda some: predicted(model, rows[some], columns))


def _epochs(job: Job, params: dict[str, Any], epochs: int) -> tuple[NeuMF, Any]:
    """NeuMF after that many of its trainer's epochs, and the data set."""
    params.pop("epochs")
    negatives = params.pop("negatives")
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(job, Path(folder), negatives, params)
        init_seed(config["seed"], config["reproducibility"])
        whole = create_dataset(config)
        train, *rest = whole.build()
        sampler = create_samplers(config, whole, [train, *rest])[0]
        loader = get_dataloader(config, "train")(config, train, sampler, shuffle=True)
        model = NeuMF(config, train)
        trainer = Trainer(config, model)
        with job.measured("fit"):
            started = time.process_time()
            ends = []
            for epoch in range(epochs):
                trainer._train_epoch(loader, epoch)
                ends.append(time.process_time() - started)
    job.figures["ends"] = ends
    return model, whole


def numbers_of(dataset: Any, job: Job) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """RecBole's numbers of all rows and of all columns."""
    rows, columns = (tokens(dataset, name, n) for name, n in zip(("user_id", "item_id"), job.shape, strict=True))
    return rows, columns


def ranking(job: Job, score: Callable[[NDArray[np.int32]], NDArray[np.float32]]) -> Callable[[bool], Lists]:
    """The lists by a function that gives the scores, (n, n_items), of user rows."""
    known = job.matrix()

    @functools.cache  # scores serve both kinds of list
    def scores_of(start: int) -> NDArray[np.float32]:
        return score(job.user_rows[start : start + BLOCK])

    def lists_of(exclude_known: bool) -> Lists:
        parts = []
        for start in range(0, len(job.user_rows), BLOCK):
            some = job.user_rows[start : start + BLOCK]
            parts.append(top_lists(scores_of(start), job, known[some] if exclude_known else None))
        return np.concatenate(parts)

    return lists_of


def configuration(
    job: Job, folder: Path, negatives: int, params: dict[str, Any], wanted: pd.DataFrame | None = None
) -> Config:
    """RecBole's settings, with the log as its atomic files; without `wanted` its test part is never looked at."""
    (folder / "log").mkdir()
    table = pd.DataFrame({"user_id:token": job.users, "item_id:token": job.items})
    for part, some in (("train", table), ("valid", table[:1]), ("test", table[:1] if wanted is None else wanted)):
        some.to_csv(folder / "log" / f"log.{part}.inter", sep="\t", index=False)
    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": negatives},
        "train_batch_size": params.pop("batch_size"),
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "seed": job.seed,
        **params,
    }
    return Config(model="NeuMF", dataset="log", config_dict=settings)


def tokens(dataset: Any, name: str, n: int) -> NDArray[np.int64]:
    """(n,) RecBole's number of each row or column, 0 for one that is not in the log."""
    numbers = dataset.field2token_id[name]
    return np.array([numbers.get(str(i), 0) for i in range(n)])


def predicted(model: NeuMF, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, n_items) of every pair, nan for items that are not in the log."""
    model.eval()
    pairs = {"user_id": np.repeat(rows, len(columns)), "item_id": np.tile(columns, len(rows))}
    with torch.no_grad():
        scores = model.forward(*(torch.from_numpy(pairs[name]) for name in ("user_id", "item_id"))).numpy()
    return np.where(columns > 0, scores.reshape(len(rows), -1), np.nan)


def evaluate(job: Job) -> Callable[[bool], Lists]:
    """The log's pairs are what was wanted; params: scores, a file of (n_users, n_items). Adds each metric's mean.

    What its trainer does behind a full ranking: a collector takes the best of blocks of scores, an evaluator judges.
    """
    torch.set_num_threads(job.threads)
    scores = torch.from_numpy(np.load(job.params["scores"]))
    wanted = job.matrix("binary")
    settings = {"use_gpu": False, "state": "ERROR", "topk": [job.k], "metrics": list(METRICS)}
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(job, Path(folder), 1, {"batch_size": 2048, **settings, "metric_decimal_place": 12})
    collector, evaluator = Collector(config), Evaluator(config)
    with job.measured("evaluate"):
        for start in range(0, len(scores), BLOCK * 8):
            block = wanted[start : start + BLOCK * 8]
            users, items = (torch.from_numpy(part.astype(np.int64)) for part in block.nonzero())
            collector.eval_batch_collect(scores[start : start + BLOCK * 8], None, users, items)
        found = evaluator.evaluate(collector.get_data_struct())
    for theirs, ours in METRICS.items():
        job.add(ours, float(found[f"{theirs.lower()}@{job.k}"]))
    return lambda exclude_known: np.full((len(job.user_rows), job.k), -1, dtype=np.int32)


class Factors(GeneralRecommender):
    """The product of given vectors, in RecBole's order of users and items."""

    input_type = InputType.POINTWISE

    def __init__(self, config: Config, dataset: Any, users: NDArray[np.float32], items: NDArray[np.float32]) -> None:
        super().__init__(config, dataset)
        self.users, self.items = (
            torch.nn.Embedding.from_pretrained(torch.from_numpy(side), freeze=False) for side in (users, items)
        )

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        """(n, n_items)."""
        return self.users(interaction[self.USER_ID]) @ self.items.weight.T


def rank_and_judge(job: Job) -> Callable[[bool], Lists]:
    """A full ranking by RecBole's trainer, known items left out. Adds each metric's mean.

    params: given, a file of users and items (vectors), wanted_users and wanted_items (pairs); users_at_once, without
    which RecBole's own evaluation batch stands, 4096 scores, which may be a single user.
    """
    torch.set_num_threads(job.threads)
    given = np.load(job.params["given"])
    wanted = pd.DataFrame({"user_id:token": given["wanted_users"], "item_id:token": given["wanted_items"]})
    settings = {"batch_size": 2048, "topk": [job.k], "metrics": list(METRICS), "metric_decimal_place": 12}
    settings |= {"valid_metric": f"NDCG@{job.k}"}
    if "users_at_once" in job.params:
        settings["eval_batch_size"] = job.params["users_at_once"] * job.shape[1]
    with tempfile.TemporaryDirectory() as folder:
        config = configuration(job, Path(folder), 1, settings, wanted)
        whole = create_dataset(config)
        built = whole.build()
        sampler = create_samplers(config, whole, built)[2]
        loader = get_dataloader(config, "test")(config, built[2], sampler, shuffle=False)
        vectors = []
        for name, n, side in zip(("user_id", "item_id"), job.shape, ("users", "items"), strict=True):
            table = np.zeros((whole.num(name), given[side].shape[1]), dtype=np.float32)
            table[tokens(whole, name, n)] = given[side]
            vectors.append(table)
        trainer = Trainer(config, Factors(config, built[0], *vectors))
        with job.measured("evaluate"):
            found = trainer.evaluate(loader, load_best_model=False, show_progress=False)
    for theirs, ours in METRICS.items():
        job.add(ours, float(found[f"{theirs.lower()}@{job.k}"]))
    return lambda exclude_known: np.full((len(job.user_rows), job.k), -1, dtype=np.int32)


if __name__ == "__main__":
    models = {"neumf": neumf, "sasrec": sasrec, "neumf_epochs": neumf_epochs}
    serve("recbole", {**models, "evaluate": evaluate, "rank_and_judge": rank_and_judge})
