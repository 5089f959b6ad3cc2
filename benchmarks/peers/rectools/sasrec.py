"""RecTools' SASRec, with early stopping as in its own guide: each user's newest event is its validation."""

import logging
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.utils import leave_one_out_mask
from task import Job, Lists
from two_stage import as_lists

MAX_VALIDATED = 1000  # users whose newest event is held out


class Best(Callback):
    """Keeps the weights of the epoch with the lowest validation loss, and ends a training that has used its seconds."""

    def __init__(self, job: Job) -> None:
        self.loss, self.weights = float("inf"), {}
        self.over, self.out_of_time = job.clock(), False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called after each epoch."""
        loss = float(trainer.callback_metrics.get(SASRecModel.val_loss_name, float("inf")))
        if not trainer.sanity_checking and loss < self.loss:
            self.loss, self.weights = loss, deepcopy(pl_module.state_dict())
        self.out_of_time = trainer.should_stop = self.over()


def sasrec(job: Job) -> Callable[[bool], Lists]:
    """params: n_factors, n_blocks, n_heads, dropout_rate, lr, session_max_len, batch_size, loss, n_negatives.

    Up to job.epochs epochs, no more than job.seconds; ends where the validation loss has not fallen for job.patience
    epochs, and the best epoch's weights are kept.
    """
    torch.set_num_threads(job.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    seed_everything(job.seed)

    def trainer() -> Trainer:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        return Trainer(
            max_epochs=job.epochs,
            callbacks=[Best(job), EarlyStopping(SASRecModel.val_loss_name, patience=job.patience)],
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            accelerator="cpu",
            devices=1,
            **quiet,
        )

    users = np.unique(job.event_users)
    chosen = np.random.default_rng(job.seed).permutation(users)[:MAX_VALIDATED]
    # one more each microsecond, so that events of one moment stay in the order that all are given
    times = pd.to_datetime(job.event_timestamps + np.arange(len(job.event_timestamps)), unit="us")
    table = pd.DataFrame({Columns.User: job.event_users, Columns.Item: job.event_items, Columns.Datetime: times})
    dataset = Dataset.construct(table.assign(**{Columns.Weight: 1.0}))
    model = SASRecModel(
        **job.params,
        get_trainer_func=trainer,
        get_val_mask_func=validation_mask,
        get_val_mask_func_kwargs={"val_users": chosen.tolist()},
        recommend_n_threads=job.threads,
        recommend_torch_device="cpu",
    )
    with job.measured("fit"):
        model.fit(dataset)
    fitted = model.fit_trainer  # a copy of what trainer() made, its callbacks too
    assert fitted is not None
    best = next(one for one in fitted.callbacks if isinstance(one, Best))
    model.lightning_model.load_state_dict(best.weights)
    job.ended(fitted.current_epoch, early=not best.out_of_time and fitted.current_epoch < job.epochs)
    offered = None if job.candidates.all() else np.intersect1d(np.flatnonzero(job.candidates), job.items)

    def lists_of(exclude_known: bool) -> Lists:
        found = model.recommend(job.user_rows, dataset, job.k, exclude_known, offered, on_unsupported_targets="ignore")
        return as_lists(found, job)

    return lists_of


def validation_mask(interactions: pd.DataFrame, val_users: Any) -> Any:
    """RecTools' own: the newest event of each of these users."""
    return leave_one_out_mask(interactions, val_users)
