"""Strong generalisation: held-out users whose history is only folded in at prediction time (Liang et al. 2018)."""

from recommenders.evaluation.tasks.task import EvaluationTask, cold_start_task
from recommenders.events.interactions import Interactions
from recommenders.splitting.user_holdout import split_users


def hold_out_users(
    log: Interactions, share: float = 0.1, fold_in: float = 0.8, seed: int = 42
) -> tuple[Interactions, EvaluationTask]:
    """The log without a share of its users, and the task for these: cold-start users with a history (split_users).

    Candidates are the items that are available in that log. user_rows are -1. Raises as split_users does.
    """
    training, held_out = split_users(log, share, fold_in, seed)
    description = (
        f"strong generalisation: {share:.0%} of the users held out, the first {fold_in:.0%} of their events folded in, "
        "the rest relevant, full ranking over all items of the others, known items "
        f"{'stay' if log.repeat else 'masked'}"
    )
    ids = log.users.ids[held_out.user_rows]
    candidates = training.available
    return training, cold_start_task(training, ids, held_out.histories, held_out.relevant, candidates, description)
