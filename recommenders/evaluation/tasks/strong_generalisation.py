"""Strong generalisation: held-out users whose history is only folded in at prediction time (Liang et al. 2018)."""

from recommenders.evaluation.tasks.task import EvaluationTask, cold_start_task
from recommenders.events.interactions import Interactions
from recommenders.splitting.early_stopping import HeldOut
from recommenders.splitting.user_holdout import split_users


def hold_out_users(
    log: Interactions, share: float = 0.1, fold_in: float = 0.8, seed: int = 42
) -> tuple[Interactions, EvaluationTask]:
    """The log without a share of its users, and the task for these: cold-start users with a history (split_users).

    Candidates are the items that are available in that log. user_rows are -1. Raises as split_users does.
    """
    training, held_out = split_users(log, share, fold_in, seed)
    return training, held_out_task(log, training, held_out, f"{share:.0%} of the users", fold_in)


def held_out_task(
    log: Interactions, training: Interactions, held_out: HeldOut, who: str, fold_in: float
) -> EvaluationTask:
    """The task for held-out users of a log, for models that are fitted on the others. who: in the description.

    Raises DataError if none of them has a relevant item that is available in the training log.
    """
    description = (
        f"strong generalisation: {who} held out, the first {fold_in:.0%} of their events folded in, "
        "the rest relevant, full ranking over all items of the others, known items "
        f"{'stay' if log.repeat else 'masked'}"
    )
    ids = log.users.ids[held_out.user_rows]
    candidates = training.available
    return cold_start_task(training, ids, held_out.histories, held_out.relevant, candidates, description)
