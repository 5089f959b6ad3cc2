"""Validates rankers of hybrid_learned on held-out users of a window: chooses score rules, and calibrates the scores."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.events.histories import Histories
from recommenders.models.calibration import BANDS, Calibration, Kind, RankedUsers, fit_calibration
from recommenders.models.ensembles.hybrid_learned.candidates import Candidates
from recommenders.models.ensembles.hybrid_learned.examples import as_cold_start, batches, unknown_rows
from recommenders.models.ensembles.hybrid_learned.rankers import Rankers
from recommenders.models.ensembles.hybrid_learned.score_rules import ScoreRules, Scores, ValidationUsers, choose_rules
from recommenders.models.popularity import Popularity
from recommenders.splitting.windows import Window, first_events

MAX_USERS = 2000  # of each group


def validate(earlier: Candidates, window: Window, rankers: Sequence[Rankers]) -> tuple[ScoreRules, Calibration | None]:
    """The score rules, and the calibration of the scores after these rules.

    rankers: one that was not trained on the users of the window, or two, each for the half of the users that it was
    not trained on (users whose number is even, and odd); [] if there is none, and then nothing is chosen.
    """
    rules, lists = ScoreRules(), dict[Kind, RankedUsers]()
    n_base_models = len(earlier.base_models)
    groups = (("bought", "new"), known_users(earlier, window)), (("cold_start",), new_users(earlier, window))
    for kinds, group in groups if rankers else ():
        if group is None:
            continue
        users, numbers = group
        scores = _held_out_scores(rankers, users, numbers, known="bought" in kinds)
        rules = rules._replace(**choose_rules(scores, users, kinds, n_base_models, earlier.repeat))
        final = rules.apply(scores, users.features, n_base_models)
        lists |= _lists(final, users, "bought" in kinds, earlier.repeat)
    if rankers:
        popularity = earlier.base_models[Popularity.name]
        assert isinstance(popularity, Popularity)
        lists["popularity"] = popularity.ranked_users(window.relevant, earlier.available)
    return rules, fit_calibration(lists)


def _held_out_scores(
    rankers: Sequence[Rankers], users: ValidationUsers, numbers: NDArray[np.int64], known: bool
) -> Scores:
    """(n_pairs,): each user's candidates, scored by the ranker that was not trained on this user."""
    pair_users = numbers[np.nonzero(users.columns >= 0)[0]]
    scores = np.empty(len(pair_users), np.float32)
    for half, ranker in enumerate(rankers):
        mask = pair_users % len(rankers) == half
        scores[mask] = ranker.score(users.features[mask], np.full(int(mask.sum()), known))
    return scores


def _lists(scores: Scores, users: ValidationUsers, known: bool, repeat: bool) -> dict[Kind, RankedUsers]:
    """The lists of each kind that the service makes for such users."""
    masks: dict[Kind, NDArray[np.bool_]] = {"all" if known else "cold_start": np.ones(len(scores), np.bool_)}
    if known and repeat:
        masks |= {"reorder": ~users.is_new, "discovery": users.is_new}
    elif not repeat:
        masks = dict.fromkeys(masks, users.is_new)
    return {
        kind: RankedUsers.of(*users.ranked(scores, mask, BANDS[-1]), users.relevant) for kind, mask in masks.items()
    }


def known_users(earlier: Candidates, window: Window) -> tuple[ValidationUsers, NDArray[np.int64]] | None:
    """Known users of a window with their candidates; and their numbers, as in Examples.users."""
    rng = np.random.default_rng(earlier.config.seed)
    chosen = np.sort(rng.permutation(len(window.user_rows))[:MAX_USERS])
    rows = window.user_rows[chosen]
    if not len(rows):
        return None
    return (
        _with_candidates(earlier, rows, window.log.histories()[rows], csr_array(window.targets[chosen])),
        rows.astype(np.int64),
    )


def new_users(earlier: Candidates, window: Window) -> tuple[ValidationUsers, NDArray[np.int64]] | None:
    """New users of a window with targets after their first visit; and their numbers."""
    known, targets = first_events(window.new_users, None)
    returning = np.flatnonzero(np.diff(targets.indptr) > 0)[:MAX_USERS]
    if not len(returning):
        return None
    items = as_cold_start(known[returning], earlier.as_of)
    return _with_candidates(earlier, unknown_rows(items), items, csr_array(targets[returning])), returning


def _with_candidates(
    earlier: Candidates, user_rows: NDArray[np.int32], histories: Histories, targets: csr_array
) -> ValidationUsers:
    parts = []
    for batch in batches(np.arange(len(user_rows))):
        rows, known = user_rows[batch], histories[batch]
        exclude_known = None if earlier.repeat else True
        base_scores, columns = earlier.propose(rows, known, 1, earlier.available, exclude_known)
        parts.append((columns, earlier.features(rows, known, columns, base_scores)))
    width = max(columns.shape[1] for columns, _ in parts)
    padded = [np.pad(columns, ((0, 0), (0, width - columns.shape[1])), constant_values=-1) for columns, _ in parts]
    relevant = csr_array(targets.astype(bool).astype(np.float32).multiply(earlier.available.astype(np.float32)))
    relevant.eliminate_zeros()
    return ValidationUsers(np.vstack(padded), np.concatenate([found for _, found in parts]), histories.matrix, relevant)
