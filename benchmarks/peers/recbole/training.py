"""RecBole's networks with its own early stopping: each user's newest item is its validation."""

import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import NeuMF
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed
from task import Job

MODELS = {"NeuMF": NeuMF, "SASRec": SASRec}


class OutOfTime(Exception):
    """A training that has used its seconds."""


def trained(job: Job, name: str, params: dict[str, Any], negatives: int | None) -> tuple[Any, Any]:
    """The model, with the weights of its best epoch, and RecBole's data set.

    Up to job.epochs epochs, no more than job.seconds; ends where NDCG@10 of the held-out items has not grown for
    job.patience validations. negatives: for each positive; None where the loss needs none.
    """
    torch.set_num_threads(job.threads)
    with tempfile.TemporaryDirectory() as folder:
        config = settings(job, Path(folder), name, params, negatives)
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        train, valid, _ = data_preparation(config, dataset)
        model = MODELS[name](config, train.dataset)
        trainer = Trainer(config, model)
        best: dict[str, Any] = {"score": -1.0}
        with job.measured("fit"):
            ended = job.clock()

            def keep(epoch: int, score: float) -> None:
                best["epochs"] = epoch + 1
                if score > best["score"]:
                    best.update(score=score, weights=deepcopy(model.state_dict()))
                if ended():
                    raise OutOfTime

            try:
                trainer.fit(train, valid, verbose=False, saved=False, callback_fn=keep)
                early = best["epochs"] < job.epochs
            except OutOfTime:
                early = False
    model.load_state_dict(best["weights"])
    job.ended(best["epochs"], early)
    return model, dataset


def settings(job: Job, folder: Path, name: str, params: dict[str, Any], negatives: int | None) -> Config:
    """RecBole's settings, with the log as its atomic file; the newest item of each user is for validation."""
    (folder / "log").mkdir()
    # the order of events is what counts; RecBole sorts by time, and events of one moment keep the order given
    table = pd.DataFrame({"user_id:token": job.event_users, "item_id:token": job.event_items})
    table["timestamp:float"] = np.arange(len(table), dtype=np.float64)
    table.to_csv(folder / "log" / "log.inter", sep="\t", index=False)
    uniform = {"distribution": "uniform", "sample_num": negatives}
    return Config(
        model=name,
        dataset="log",
        config_dict={
            "data_path": str(folder),
            "checkpoint_dir": str(folder / "saved"),
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "eval_args": {"split": {"LS": "valid_only"}, "order": "TO", "group_by": "user", "mode": "full"},
            "train_neg_sample_args": uniform if negatives else None,
            "train_batch_size": params.pop("batch_size"),
            "eval_batch_size": 1_000_000,  # pairs at once: of users as many as fit, whatever the number of items
            "epochs": job.epochs,
            "stopping_step": job.patience,
            "valid_metric": "NDCG@10",
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
            "seed": job.seed,
            **params,
        },
    )


def sequences(
    job: Job, model: SASRec, columns: NDArray[np.int64]
) -> Callable[[NDArray[np.int32]], NDArray[np.float32]]:
    """A function of user rows, (n,), that gives scores (n, n_items) from each user's newest events.

    columns: (n_items,) RecBole's number of each item, 0 for one that is not in the log.
    """
    order = np.argsort(job.event_users, kind="stable")  # events are in time order
    starts = np.searchsorted(job.event_users[order], np.arange(job.shape[0] + 1))
    items = columns[job.event_items[order]]
    length = model.max_seq_length

    def scores_of(rows: NDArray[np.int32]) -> NDArray[np.float32]:
        history = np.zeros((len(rows), length), dtype=np.int64)
        lengths = np.minimum(starts[rows + 1] - starts[rows], length)
        for place, row in enumerate(rows):
            history[place, : lengths[place]] = items[starts[row + 1] - lengths[place] : starts[row + 1]]
        model.eval()
        asked = {
            model.ITEM_SEQ: torch.from_numpy(history),
            model.ITEM_SEQ_LEN: torch.from_numpy(np.maximum(lengths, 1)),
        }
        with torch.no_grad():
            scores = model.full_sort_predict(Interaction(asked)).numpy()
        return np.where(columns > 0, scores[:, columns], np.nan).astype(np.float32)

    return scores_of
