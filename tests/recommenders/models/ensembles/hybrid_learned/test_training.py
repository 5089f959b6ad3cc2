"""Training of the rankers of hybrid_learned: the examples, and the users that validate the rankers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommenders.events.histories import DAY, Histories
from recommenders.events.interactions import Interactions
from recommenders.models.ease import EASE
from recommenders.models.ensembles.hybrid_learned import examples as examples_module
from recommenders.models.ensembles.hybrid_learned import training, validation
from recommenders.models.ensembles.hybrid_learned.candidates import Candidates
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.examples import Examples
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.models.ensembles.hybrid_learned.score_rules import ScoreRules, ValidationUsers
from recommenders.models.ensembles.hybrid_learned.training import FIRST_EVENTS, NON_CANDIDATE_WEIGHT
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import TrainingOptions
from recommenders.splitting.windows import Window, windows

SMALL: dict[str, Any] = {"base_models": ("popularity", "ease"), "n_windows": 1, "n_estimators": 5, "max_depth": 3}


def before_and_after(log: Interactions, **config: Any) -> tuple[Candidates, Window]:
    """The candidates as of the cut time of the log's newest window, and the window."""
    base_models = {"popularity": Popularity().fit(log), "ease": EASE().fit(log)}
    candidates = Candidates.from_log(HybridLearnedConfig(**(SMALL | config)), base_models, log, None)
    window = next(windows(log, 1, 20.0))
    return training._fit_earlier(candidates, window.log, None, TrainingOptions()), window


def examples(earlier: Candidates, window: Window, seed: int = 0) -> Examples:
    found = training._examples(earlier, window, np.random.default_rng(seed))
    assert found is not None
    return found


def recorded_columns(earlier: Candidates, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The item columns passed to features(), call by call."""
    columns: list[np.ndarray] = []
    features = earlier.features

    def recording(rows: Any, histories: Any, padded: np.ndarray, base_scores: Any) -> Any:
        columns.append(padded)
        return features(rows, histories, padded, base_scores)

    monkeypatch.setattr(earlier, "features", recording)
    return columns


def limit_proposals(earlier: Candidates, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the base models propose only n items for each user."""
    propose = earlier.propose

    def few(*arguments: Any) -> Any:
        base_scores, columns = propose(*arguments)
        return base_scores, columns[:, :n]

    monkeypatch.setattr(earlier, "propose", few)


def test_the_examples_of_a_window_are_its_candidates_each_once(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = before_and_after(market, cold_start_share=0.0)
    limit_proposals(earlier, 4, monkeypatch)
    columns = recorded_columns(earlier, monkeypatch)
    found = examples(earlier, window)
    rows, known = window.user_rows, window.log.histories()[window.user_rows]
    _, proposed = earlier.propose(rows, known, 1, earlier.available, None)
    assert [sorted(row[row >= 0]) for row in columns[0]] == [sorted(row[row >= 0]) for row in proposed]
    assert (found.weights == 1).all()
    assert found.known.all()
    assert not found.new.any()
    targets = window.targets.toarray() > 0
    places, at = np.nonzero(columns[0] >= 0)
    np.testing.assert_array_equal(found.labels, targets[places, columns[0][places, at]])
    np.testing.assert_array_equal(found.users, rows[places])
    assert 0 < found.labels.sum() < targets.sum()  # items that no base model proposes are no examples here


@pytest.fixture(scope="module")
def undated(world: Any) -> tuple[Candidates, Window]:
    """A log without dates and repeat purchases; the next items of each user are the targets."""
    return before_and_after(replace(world[0], dated=False), cold_start_share=0.0)


def test_for_next_item_targets_random_items_represent_the_whole_catalogue(
    undated: tuple[Candidates, Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = undated
    limit_proposals(earlier, 2, monkeypatch)
    monkeypatch.setattr(training, "N_RANDOM_ITEMS", 4)
    columns = recorded_columns(earlier, monkeypatch)
    found = examples(earlier, window)
    known = window.log.histories()[window.user_rows]
    _, proposed = earlier.propose(window.user_rows, known, 1, earlier.available, True)
    targets, bought = window.targets.toarray() > 0, known.matrix.toarray() > 0
    n_items, starts = known.n_items, np.append(0, np.cumsum((columns[0] >= 0).sum(axis=1)))
    n_other_targets = 0
    for place, row in enumerate(columns[0]):
        items, own = row[row >= 0], slice(starts[place], starts[place + 1])
        is_candidate = np.isin(items, proposed[place])
        labels, weights = found.labels[own], found.weights[own]
        assert len(set(items.tolist())) == len(items)
        assert not bought[place, items].any()
        assert set(np.flatnonzero(targets[place] & ~bought[place] & earlier.available)) <= set(items.tolist())
        np.testing.assert_array_equal(labels, targets[place, items])
        assert (weights[is_candidate] == 1).all()
        np.testing.assert_allclose(weights[~is_candidate & labels], NON_CANDIDATE_WEIGHT)
        if (~is_candidate & ~labels).any():
            assert weights[~is_candidate & ~labels].sum() == pytest.approx(NON_CANDIDATE_WEIGHT * n_items)
        n_other_targets += int((~is_candidate & labels).sum())
    assert n_other_targets
    assert 0 < NON_CANDIDATE_WEIGHT < 1  # a candidate has a larger weight
    assert len(found.labels) < len(columns[0]) * n_items / 2


def test_items_not_on_sale_are_no_examples(undated: tuple[Candidates, Window], monkeypatch: Any) -> None:
    earlier, window = undated
    monkeypatch.setattr(earlier, "available", np.arange(len(earlier.available)) % 2 == 0)
    columns = recorded_columns(earlier, monkeypatch)
    examples(earlier, window)
    assert (columns[0][columns[0] >= 0] % 2 == 0).all()


def test_the_batch_size_changes_nothing(market: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier, window = before_and_after(market, n_candidates=3)
    together = examples(earlier, window), validation.known_users(earlier, window)
    monkeypatch.setattr(examples_module, "BATCH", 1)
    apart = examples(earlier, window), validation.known_users(earlier, window)
    for one, other in zip(together[0], apart[0], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert together[1]
    assert apart[1]
    np.testing.assert_array_equal(together[1][0].columns, apart[1][0].columns)
    np.testing.assert_allclose(together[1][0].features, apart[1][0].features, rtol=1e-5)
    assert (together[1][0].columns.max(axis=0) >= 0).all()  # no column without a candidate


def test_a_cold_start_history_has_each_item_once_in_order_of_first_purchase() -> None:
    histories = Histories(
        np.array([0, 4, 7, 8, 9, 10]),
        np.array([3, 1, 3, 0, 3, 0, 0, 1, 2, 2], np.int32),
        np.arange(10, dtype=np.int64) * DAY,
        np.full(10, 2.5, np.float32),
        4,
    )
    found = examples_module.as_cold_start(histories, 99)
    assert [found[[row]].item_columns.tolist() for row in range(5)] == [[3, 1, 0], [3, 0], [1], [2], [2]]
    assert (found.timestamps == 99).all()
    assert (found.weights == 1).all()


def test_a_share_of_the_users_is_shown_as_cold_start_users_within_the_limits(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = before_and_after(market, max_users=12, cold_start_share=0.5)
    label, targets = training._label, []

    def recording(*given: Any, **more: Any) -> Examples:
        targets.append(given[3])
        return label(*given, **more)

    monkeypatch.setattr(training, "_label", recording)
    found = examples(earlier, window)
    not_new = ~found.new
    n_known = len(np.unique(found.users[not_new & found.known]))
    n_cold_start = len(np.unique(found.users[not_new & ~found.known]))
    assert n_known + n_cold_start == 12
    assert min(n_known, n_cold_start) > 2
    assert not found.known[found.new].any()
    # half of 12 new users are drawn for each number of first events
    few = examples(replace_config(earlier, max_users=2), window)
    assert len(np.unique(few.users[few.new])) <= len(FIRST_EVENTS)
    every = examples(replace_config(earlier, cold_start_share=1.0, max_users=100), window)
    assert not every.known.any()
    assert set(every.users[every.new]) == set(range(20))
    # of four events one follows the third and none the eighth: users without targets are left out
    assert all((np.diff(rows.indptr) > 0).all() for rows in targets)
    assert [rows.shape[0] for rows in targets[-3:]] == [20, 20, 20]
    assert [rows.sum() for rows in targets[-3:]] == [60, 60, 20]


def replace_config(model: Candidates, **changes: Any) -> Candidates:
    model.config = model.config.model_copy(update=changes)
    return model


class Parity:
    """A ranker that scores every pair with the parity of the users it was trained on; -1 if both parities occur."""

    def __init__(self, learned: Examples) -> None:
        odd = np.unique(learned.users % 2)
        self.parity = float(odd[0]) if len(odd) == 1 else -1.0

    def score(self, features: np.ndarray, known: np.ndarray) -> np.ndarray:
        return np.full(len(features), self.parity, np.float32)


def choose(earlier: Candidates, window: Window, before: Examples | None, within: Examples) -> ScoreRules:
    """The score rules, as fit_rankers() chooses them."""
    ended = [before] if before else []
    return validation.validate(earlier, window, training._rankers_to_validate(earlier.config, ended, within, None))[0]


def record_training(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Records the examples of rankers and the arguments of choose_rules: kinds[0] -> (scores, ValidationUsers)."""
    recorded: dict[str, Any] = {"learned": []}

    def rankers(config: HybridLearnedConfig, learned: Examples, threads: None) -> Parity:
        recorded["learned"].append(learned)
        return Parity(learned)

    def choose_rules(
        scores: np.ndarray, users: ValidationUsers, kinds: tuple[str, ...], *others: Any
    ) -> dict[str, Any]:
        recorded[kinds[0]] = scores, users
        return {}

    monkeypatch.setattr(training, "_train_rankers", rankers)
    monkeypatch.setattr(validation, "choose_rules", choose_rules)
    return recorded


def test_with_one_window_each_half_of_the_users_validates_the_ranker_of_the_other_half(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = before_and_after(market)
    within = examples(earlier, window)
    propose = earlier.propose

    def ragged(*given: Any) -> Any:
        """Every second user has one candidate less."""
        base_scores, columns = propose(*given)
        columns[::2, -1] = -1
        return base_scores, columns

    monkeypatch.setattr(earlier, "propose", ragged)
    recorded = record_training(monkeypatch)
    assert choose(earlier, window, None, within) == ScoreRules()
    assert sorted(int(learned.users[0]) % 2 for learned in recorded["learned"]) == [0, 1]
    for kind, numbers in (("bought", window.user_rows), ("cold_start", np.arange(20))):
        scores, validation = recorded[kind]
        users = numbers[np.nonzero(validation.columns >= 0)[0]]
        np.testing.assert_array_equal(scores, 1 - users % 2)


def test_rankers_of_earlier_windows_are_validated_on_all_users_of_the_newest(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = before_and_after(market)
    recorded = record_training(monkeypatch)
    within = examples(earlier, window)
    before = within.select(within.users % 4 != 1)
    choose(earlier, window, before, within)
    assert [len(learned.labels) for learned in recorded["learned"]] == [len(before.labels)]
    assert (recorded["bought"][0] == -1).all()
    assert len(recorded["bought"][0]) == (recorded["bought"][1].columns >= 0).sum()


def test_too_few_positives_choose_no_rule(market: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier, window = before_and_after(market)
    within = examples(earlier, window)
    within.labels[np.flatnonzero(within.labels)[: within.labels.sum() % 2]] = False  # an even number
    n_positives = int(within.labels.sum())
    for minimum, before, n_rankers in (
        (n_positives // 2 + 1, None, 0),  # neither half has enough
        (n_positives // 2, None, 2),
        (n_positives, within, 1),
        (n_positives + 1, within, 0),
    ):
        monkeypatch.setattr(training, "MIN_POSITIVES", minimum)
        recorded = record_training(monkeypatch)
        assert choose(earlier, window, before, within) == ScoreRules()
        assert len(recorded["learned"]) == n_rankers
        assert ("bought" in recorded) == (n_rankers > 0)
    monkeypatch.setattr(training, "MIN_POSITIVES", 1)
    odd_only = within._replace(labels=within.labels & (within.users % 2 == 1))
    recorded = record_training(monkeypatch)
    assert choose(earlier, window, None, odd_only) == ScoreRules()  # one half has no positives
    assert not recorded["learned"]


def test_validation_users_are_limited_and_have_their_own_targets(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "MAX_USERS", 7)
    earlier, window = before_and_after(market)
    found = validation.known_users(earlier, window)
    assert found
    users, rows = found
    assert len(rows) == len(set(rows.tolist())) == 7
    assert (np.diff(rows) > 0).all()
    places = np.searchsorted(window.user_rows, rows)
    np.testing.assert_array_equal(users.relevant.toarray() > 0, window.targets[places].toarray() > 0)
    np.testing.assert_array_equal(users.known.toarray() > 0, window.log.matrix("binary")[rows].toarray() > 0)
    new = validation.new_users(earlier, window)
    assert new
    assert new[1].tolist() == list(range(7))
    assert (new[0].known.sum(axis=1) == 1).all()  # the first visit
    assert new[0].relevant[:, [0, 1, 2]].toarray().all()


def test_an_empty_window_gives_no_examples_and_no_validation_users(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = before_and_after(market)
    within = examples(earlier, window)
    empty = replace(
        window, user_rows=window.user_rows[:0], targets=csr_array(window.targets[:0]), new_users=window.new_users[[]]
    )
    assert training._examples(earlier, empty, np.random.default_rng(0)) is None
    assert validation.known_users(earlier, empty) is None
    assert validation.new_users(earlier, empty) is None
    for part in (replace(window, new_users=window.new_users[[]]), replace(empty, new_users=window.new_users)):
        assert training._examples(earlier, part, np.random.default_rng(0))
    recorded = record_training(monkeypatch)
    choose(earlier, replace(empty, new_users=window.new_users), within, within)
    assert "bought" not in recorded
    assert "cold_start" in recorded
    two_visits = window.new_users.select(np.arange(80) % 4 < 2)  # one target after the first
    new = validation.new_users(earlier, replace(window, new_users=two_visits))
    assert new
    assert len(new[1]) == 20


def test_a_group_with_too_few_positives_is_trained_on_all_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, n = np.random.default_rng(0), 400
    config = HybridLearnedConfig(**SMALL)
    features = rng.random((n, 2)).astype(np.float32)
    cold = np.arange(n) >= 300
    labels = np.where(cold, features[:, 1] > 0.5, features[:, 0] > 0.5)
    made = Examples(features, labels, np.ones(n), ~cold, cold, np.arange(n))
    n_positives = int(labels[cold].sum())

    def pair_scores(group: str) -> list[float]:
        """The scores of two pairs that only one group separates."""
        pairs = np.array([[0.5, 0.1], [0.5, 0.9]], np.float32)
        return np.round(getattr(training._train_rankers(config, made, None), group).score(pairs), 3).tolist()

    monkeypatch.setattr(training, "MIN_POSITIVES", n_positives)
    known, cold_start = pair_scores("known"), pair_scores("cold_start")
    monkeypatch.setattr(training, "MIN_POSITIVES", n_positives + 1)
    assert pair_scores("known") == known
    assert pair_scores("cold_start") != cold_start  # now the 300 others dominate
    assert cold_start[1] - cold_start[0] > 2 * (pair_scores("cold_start")[1] - pair_scores("cold_start")[0])
    all_positive = made._replace(labels=labels | cold)
    monkeypatch.setattr(training, "MIN_POSITIVES", 1)
    assert np.ptp(training._train_rankers(config, all_positive, None).cold_start.score(features)) > 0.3  # of the others


def test_there_is_no_early_stopping() -> None:
    rng, n = np.random.default_rng(0), 12_000
    config = HybridLearnedConfig(**(SMALL | {"n_estimators": 40}))
    nothing = Examples(
        rng.random((n, 2)).astype(np.float32),
        rng.random(n) < 0.5,
        np.ones(n),
        np.ones(n, np.bool_),
        np.zeros(n, np.bool_),
        np.arange(n),
    )
    assert len(training._train_rankers(config, nothing, None).known.values) == 40


def test_windows_that_ended_before_the_newest_began_are_used_for_validation(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the windows of 20 days that begin 20, 30 and 40 days before the end, only the last one had ended."""
    parts: list[Examples] = []
    before: list[list[Examples]] = []
    made = training._examples

    def kept(*given: Any) -> Examples | None:
        parts.append(made(*given))  # type: ignore[arg-type]
        return parts[-1]

    def choosing(config: HybridLearnedConfig, ended: list[Examples], within: Examples, threads: None) -> list[Any]:
        assert within is parts[0]
        before.append(ended)
        return []

    monkeypatch.setattr(training, "_examples", kept)
    monkeypatch.setattr(training, "_rankers_to_validate", choosing)
    for n_windows in (3, 2):
        parts.clear()
        model = HybridLearned(HybridLearnedConfig(**(SMALL | {"n_windows": n_windows})))
        base_models = {"popularity": Popularity().fit(market), "ease": EASE().fit(market)}
        model.fit_from(base_models, market)
        assert len(parts) == n_windows
        if n_windows == 3:
            assert len(before[-1]) == 1
            np.testing.assert_array_equal(before[-1][0].features, parts[2].features)
    assert before[1:] == [[]]


def test_newest_events_are_added_if_the_windows_have_too_few_positives(market: Interactions) -> None:
    earlier, window = before_and_after(market)
    part = examples(earlier, window)
    minimum = training.MIN_POSITIVES
    for n_positives, n_windows in ((minimum - 1, 2), (minimum, 1)):
        labels = np.arange(len(part.labels)) < n_positives
        assert len(list(training._training_windows(market, earlier, [part._replace(labels=labels)]))) == n_windows


def test_candidates_of_validation_users_are_those_that_may_be_recommended(
    market: Interactions, undated: tuple[Candidates, Window]
) -> None:
    for earlier, window, exclude in ((*before_and_after(market), None), (*undated, True)):
        found = validation.known_users(earlier, window)
        assert found
        known = window.log.histories()[found[1].astype(np.int32)]
        _, columns = earlier.propose(found[1].astype(np.int32), known, 1, earlier.available, exclude)
        np.testing.assert_array_equal(found[0].columns, columns)
