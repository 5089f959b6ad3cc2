"""The evaluation tasks of the folds of a log: cross-validation before the test window."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, DataError, UnknownNameError
from recommenders.evaluation.tasks.strong_generalisation import held_out_task
from recommenders.evaluation.window_task import WindowTask, task_after
from recommenders.events.interactions import Interactions
from recommenders.features.items import encode_items_as_of
from recommenders.splitting.early_stopping import Mask
from recommenders.splitting.folds import activity_groups, before_test, rolling_windows, user_folds
from recommenders.splitting.temporal import last_time, training_log
from recommenders.splitting.user_holdout import hold_out_rows

SCHEMES = ("kfold", "time", "stratified")
ACTIVITY = "activity"  # strata by the number of events
FOLD_IN = 0.8  # share of a held-out user's events that is the history


@dataclass(frozen=True)
class FoldPlan:
    """How a log is divided into folds (docs/evaluation.md).

    by: the strata of the scheme `stratified`: a text column of the users table, or `activity`; "" for `segment`. Raises
    UnknownNameError or ConfigurationError for a plan that no log allows.
    """

    scheme: str = "kfold"
    folds: int = 5
    by: str = ""
    seed: int = 42

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise UnknownNameError("scheme", self.scheme, SCHEMES)
        if self.folds < 2:
            raise ConfigurationError(f"folds: got {self.folds}; allowed: 2 or more; give the number of folds")
        if self.by and self.scheme != "stratified":
            raise ConfigurationError(
                f"by: got {self.by} with the scheme {self.scheme}; allowed: with the scheme stratified; leave it out"
            )

    @property
    def strata(self) -> str:
        """What the users are grouped by; "" if they are not."""
        return (self.by or "segment") if self.scheme == "stratified" else ""


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold: the log that models are fitted on, and the task that they are evaluated on."""

    name: str
    window: WindowTask


def fold_tasks(
    plan: FoldPlan, interactions: pa.Table, items: pa.Table, users: pa.Table, protocol: Protocol
) -> Iterator[Fold]:
    """Yields the folds; none has an event of the test window.

    Raises DataError if the log has too few events or users for the plan, or if no user has a value of the strata,
    UnknownNameError if the users table does not have that column.
    """
    if plan.scheme == "time":
        return _windows(plan, interactions, items, protocol)
    return _user_parts(plan, interactions, items, users, protocol)


def _windows(plan: FoldPlan, interactions: pa.Table, items: pa.Table, protocol: Protocol) -> Iterator[Fold]:
    days = f"windows of {protocol.test_days} days, each" if protocol.split == "time_cut" else "one event of each user,"
    description = f"rolling origin: {days} predicted from all events before, {protocol.describe().partition(', ')[2]}"
    for name, before, within in rolling_windows(interactions, protocol, plan.folds):
        try:
            window = task_after(before, within, items, protocol)
        except DataError as error:
            raise DataError(f"fold {name}: {error}; or give fewer folds") from error
        yield Fold(name, replace(window, task=replace(window.task, description=description)))


def _user_parts(
    plan: FoldPlan, interactions: pa.Table, items: pa.Table, users: pa.Table, protocol: Protocol
) -> Iterator[Fold]:
    events = before_test(interactions, protocol)
    log = training_log(events, items, protocol, last_time(events))
    features, counts = encode_items_as_of(items, log.items, log.last_event), _relevant(log, events, protocol)
    groups = strata(log, users, plan.strata) if plan.strata else None
    who = f"one of {plan.folds} folds of the users, stratified by {plan.strata}," if plan.strata else ""
    who = who or f"one of {plan.folds} folds of the users"
    for number, rows in enumerate(user_folds(log, plan.folds, plan.seed, groups), 1):
        training, held_out = hold_out_rows(log, rows, FOLD_IN, np.random.default_rng([plan.seed, number]), counts)
        task = held_out_task(log, training, held_out, who, FOLD_IN)
        yield Fold(f"part {number} of the users", WindowTask(training, features, task))


def strata(log: Interactions, users: pa.Table, by: str) -> NDArray[np.generic]:
    """(n_users,) the group of each user of the log; a user without a value has the group "".

    by: a text column of the users table, or `activity`. Raises UnknownNameError for another name, DataError if no user
    has a value.
    """
    if by == ACTIVITY:
        return activity_groups(log)
    names = [field.name for field in users.schema if pa.types.is_string(field.type)]
    columns = [name for name in names if name not in ("user_id", "attributes")]
    if by not in columns:
        raise UnknownNameError("group of users", by, [*columns, ACTIVITY])
    if users[by].null_count == users.num_rows:
        known = [name for name in columns if users[name].null_count < users.num_rows]
        raise DataError(
            f"by: got {by}, of which no user has a value; allowed: {', '.join([*known, ACTIVITY])}; group users by one "
            "of these"
        )
    given = users.filter(pc.is_valid(users[by]))
    rows = log.users.rows(given["user_id"].to_numpy().astype(np.str_))
    values = given[by].to_numpy().astype(np.str_)
    found = np.full(len(log.users), "", dtype=values.dtype)
    found[rows[rows >= 0]] = values[rows >= 0]
    return found


def _relevant(log: Interactions, events: pa.Table, protocol: Protocol) -> Mask:
    """(n_events,) whether a relevant event (by the protocol) has the user, item and time of the event of the log."""
    wanted = events.filter(pc.is_in(events["event"], pa.array(protocol.relevant_events)))
    times = np.unique(log.timestamps)

    def keys(part: Interactions) -> NDArray[np.int64]:
        pairs = part.user_rows.astype(np.int64) * len(log.items) + part.item_columns
        return pairs * len(times) + np.searchsorted(times, part.timestamps)

    return np.isin(keys(log), keys(Interactions.from_table(wanted, log.items, log.users)))
