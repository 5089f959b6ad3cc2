"""What the ranker of hybrid_learned learns from, and who judges it: laws of its examples."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommenders.events.histories import DAY, Histories
from recommenders.events.interactions import Interactions
from recommenders.models.ease import EASE
from recommenders.models.ensembles.hybrid_learned import training
from recommenders.models.ensembles.hybrid_learned.candidates import Candidates
from recommenders.models.ensembles.hybrid_learned.choice import Asked, Choices
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.models.ensembles.hybrid_learned.training import FAR_WEIGHT, FIRST_EVENTS, Examples
from recommenders.models.ensembles.hybrid_learned.windows import Window, windows
from recommenders.models.popularity import Popularity

SMALL: dict[str, Any] = {"members": ("popularity", "ease"), "n_windows": 1, "trees": 5, "depth": 3}


def before_and_after(log: Interactions, **config: Any) -> tuple[Candidates, Window]:
    """The candidates as they were before the log's newest window, and the window."""
    members = {"popularity": Popularity().fit(log), "ease": EASE().fit(log)}
    candidates = Candidates.of(HybridLearnedConfig(**(SMALL | config)), members, log, None)
    window = next(windows(log, 1, 20.0))
    return training._earlier(candidates, window.log, None), window


def examples(earlier: Candidates, window: Window, seed: int = 0) -> Examples:
    found = training._examples(earlier, window, np.random.default_rng(seed))
    assert found is not None
    return found


def shown(earlier: Candidates, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The item columns that features are asked of, call by call."""
    columns: list[np.ndarray] = []
    features = earlier.features

    def asked(rows: Any, histories: Any, padded: np.ndarray, looks: Any) -> Any:
        columns.append(padded)
        return features(rows, histories, padded, looks)

    monkeypatch.setattr(earlier, "features", asked)
    return columns


def proposing(earlier: Candidates, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the members propose n items of each user and no more."""
    propose = earlier.propose

    def few(*arguments: Any) -> Any:
        looks, columns = propose(*arguments)
        return looks, columns[:, :n]

    monkeypatch.setattr(earlier, "propose", few)


def test_the_candidates_of_a_window_are_its_examples_each_once(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = before_and_after(market, stranger_share=0.0)
    proposing(earlier, 4, monkeypatch)
    columns = shown(earlier, monkeypatch)
    found = examples(earlier, window)
    rows, known = window.user_rows, window.log.histories()[window.user_rows]
    _, proposed = earlier.propose(rows, known, 1, earlier.available, None)
    assert [sorted(row[row >= 0]) for row in columns[0]] == [sorted(row[row >= 0]) for row in proposed]
    assert (found.weights == 1).all()
    assert found.known.all()
    assert not found.new.any()
    wanted = window.wanted.toarray() > 0
    places, at = np.nonzero(columns[0] >= 0)
    np.testing.assert_array_equal(found.labels, wanted[places, columns[0][places, at]])
    np.testing.assert_array_equal(found.users, rows[places])
    assert 0 < found.labels.sum() < wanted.sum()  # what no member proposes teaches nothing here


@pytest.fixture(scope="module")
def undated(world: Any) -> tuple[Candidates, Window]:
    """Users who come back to no item, each of whom wants the next one."""
    return before_and_after(replace(world[0], dated=False), stranger_share=0.0)


def test_where_the_next_item_is_asked_some_others_stand_for_the_whole_catalogue(
    undated: tuple[Candidates, Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = undated
    proposing(earlier, 2, monkeypatch)
    monkeypatch.setattr(training, "OTHERS", 4)
    columns = shown(earlier, monkeypatch)
    found = examples(earlier, window)
    known = window.log.histories()[window.user_rows]
    _, proposed = earlier.propose(window.user_rows, known, 1, earlier.available, True)
    wanted, bought = window.wanted.toarray() > 0, known.matrix.toarray() > 0
    n_items, starts = known.n_items, np.append(0, np.cumsum((columns[0] >= 0).sum(axis=1)))
    far_wanted = 0
    for place, row in enumerate(columns[0]):
        items, own = row[row >= 0], slice(starts[place], starts[place + 1])
        near = np.isin(items, proposed[place])
        labels, weights = found.labels[own], found.weights[own]
        assert len(set(items.tolist())) == len(items)
        assert not bought[place, items].any()
        assert set(np.flatnonzero(wanted[place] & ~bought[place] & earlier.available)) <= set(items.tolist())
        np.testing.assert_array_equal(labels, wanted[place, items])
        assert (weights[near] == 1).all()
        np.testing.assert_allclose(weights[~near & labels], FAR_WEIGHT)
        if (~near & ~labels).any():
            assert weights[~near & ~labels].sum() == pytest.approx(FAR_WEIGHT * n_items)
        far_wanted += int((~near & labels).sum())
    assert far_wanted
    assert 0 < FAR_WEIGHT < 1  # a candidate counts more
    assert len(found.labels) < len(columns[0]) * n_items / 2


def test_what_is_not_on_sale_is_no_example(undated: tuple[Candidates, Window], monkeypatch: Any) -> None:
    earlier, window = undated
    monkeypatch.setattr(earlier, "available", np.arange(len(earlier.available)) % 2 == 0)
    columns = shown(earlier, monkeypatch)
    examples(earlier, window)
    assert (columns[0][columns[0] >= 0] % 2 == 0).all()


def test_how_many_users_are_looked_at_once_changes_nothing(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = before_and_after(market, n_candidates=3)
    together = examples(earlier, window), training._known_asked(earlier, window)
    monkeypatch.setattr(training, "BATCH", 1)
    apart = examples(earlier, window), training._known_asked(earlier, window)
    for one, other in zip(together[0], apart[0], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert together[1]
    assert apart[1]
    np.testing.assert_array_equal(together[1][0].columns, apart[1][0].columns)
    np.testing.assert_allclose(together[1][0].features, apart[1][0].features, rtol=1e-5)
    assert (together[1][0].columns.max(axis=0) >= 0).all()  # no column that no user needs


def test_of_a_stranger_each_item_is_known_once_in_the_order_it_was_first_bought() -> None:
    told = Histories(
        np.array([0, 4, 7, 8, 9, 10]),
        np.array([3, 1, 3, 0, 3, 0, 0, 1, 2, 2], np.int32),
        np.arange(10, dtype=np.int64) * DAY,
        np.full(10, 2.5, np.float32),
        4,
    )
    found = training._items_of(told, 99)
    assert [found[[row]].item_columns.tolist() for row in range(5)] == [[3, 1, 0], [3, 0], [1], [2], [2]]
    assert (found.timestamps == 99).all()
    assert (found.weights == 1).all()


def test_a_share_of_the_users_is_seen_as_strangers_and_no_more_than_may_be(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = before_and_after(market, max_users=12, stranger_share=0.5)
    labelled, wanted = training._labelled, []

    def told(*given: Any, **more: Any) -> Examples:
        wanted.append(given[3])
        return labelled(*given, **more)

    monkeypatch.setattr(training, "_labelled", told)
    found = examples(earlier, window)
    settled = ~found.new
    n_known = len(np.unique(found.users[settled & found.known]))
    n_strange = len(np.unique(found.users[settled & ~found.known]))
    assert n_known + n_strange == 12
    assert min(n_known, n_strange) > 2
    assert not found.known[found.new].any()
    # of the newcomers half of 12 are asked at each of the moments at which something of them is known
    asked = examples(replace_config(earlier, max_users=2), window)
    assert len(np.unique(asked.users[asked.new])) <= len(FIRST_EVENTS)
    every = examples(replace_config(earlier, stranger_share=1.0, max_users=100), window)
    assert not every.known.any()
    assert set(every.users[every.new]) == set(range(20))
    # of four events one follows the third and none the eighth: nobody is asked who wanted nothing
    assert all((np.diff(rows.indptr) > 0).all() for rows in wanted)
    assert [rows.shape[0] for rows in wanted[-3:]] == [20, 20, 20]
    assert [rows.sum() for rows in wanted[-3:]] == [60, 60, 20]


def replace_config(model: Candidates, **changes: Any) -> Candidates:
    model.config = model.config.model_copy(update=changes)
    return model


class Parity:
    """A ranker that scores every pair with the parity of the users it learned from; -1 for those of both."""

    def __init__(self, learned: Examples) -> None:
        odd = np.unique(learned.users % 2)
        self.says = float(odd[0]) if len(odd) == 1 else -1.0

    def score(self, features: np.ndarray, known: np.ndarray) -> np.ndarray:
        return np.full(len(features), self.says, np.float32)


def choices_of(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What rankers learn from while a choice is made, and what `choose` gets: kinds -> (scores, Asked)."""
    seen: dict[str, Any] = {"learned": []}

    def rankers(config: HybridLearnedConfig, learned: Examples) -> Parity:
        seen["learned"].append(learned)
        return Parity(learned)

    def choose(scores: np.ndarray, asked: Asked, kinds: tuple[str, ...], *others: Any) -> dict[str, Any]:
        seen[kinds[0]] = scores, asked
        return {}

    monkeypatch.setattr(training, "_rankers", rankers)
    monkeypatch.setattr(training, "choose", choose)
    return seen


def test_with_one_window_each_half_of_the_users_is_judged_by_what_the_other_half_taught(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = before_and_after(market)
    within = examples(earlier, window)
    propose = earlier.propose

    def ragged(*given: Any) -> Any:
        """Every second user has a candidate fewer."""
        looks, columns = propose(*given)
        columns[::2, -1] = -1
        return looks, columns

    monkeypatch.setattr(earlier, "propose", ragged)
    seen = choices_of(monkeypatch)
    assert training._choices(earlier, window, None, within) == Choices()
    assert sorted(int(learned.users[0]) % 2 for learned in seen["learned"]) == [0, 1]
    for kind, numbers in (("bought", window.user_rows), ("cold_start", np.arange(20))):
        scores, asked = seen[kind]
        users = numbers[np.nonzero(asked.columns >= 0)[0]]
        np.testing.assert_array_equal(scores, 1 - users % 2)


def test_windows_that_ended_before_judge_all_users_of_the_newest(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, window = before_and_after(market)
    seen = choices_of(monkeypatch)
    within = examples(earlier, window)
    before = within.of(within.users % 4 != 1)
    training._choices(earlier, window, before, within)
    assert [len(learned.labels) for learned in seen["learned"]] == [len(before.labels)]
    assert (seen["bought"][0] == -1).all()
    assert len(seen["bought"][0]) == (seen["bought"][1].columns >= 0).sum()


def test_too_little_to_learn_from_chooses_nothing(market: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier, window = before_and_after(market)
    within = examples(earlier, window)
    within.labels[np.flatnonzero(within.labels)[: within.labels.sum() % 2]] = False  # an even number
    n_wanted = int(within.labels.sum())
    for enough, before, n_rankers in (
        (n_wanted // 2 + 1, None, 0),  # neither half could teach
        (n_wanted // 2, None, 2),
        (n_wanted, within, 1),
        (n_wanted + 1, within, 0),
    ):
        monkeypatch.setattr(training, "ENOUGH", enough)
        seen = choices_of(monkeypatch)
        assert training._choices(earlier, window, before, within) == Choices()
        assert len(seen["learned"]) == n_rankers
        assert ("bought" in seen) == (n_rankers > 0)
    monkeypatch.setattr(training, "ENOUGH", 1)
    odd_alone = within._replace(labels=within.labels & (within.users % 2 == 1))
    seen = choices_of(monkeypatch)
    assert training._choices(earlier, window, None, odd_alone) == Choices()  # one half has nothing to learn
    assert not seen["learned"]


def test_no_more_users_than_may_be_are_asked_and_each_for_its_own(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MAX_ASKED", 7)
    earlier, window = before_and_after(market)
    found = training._known_asked(earlier, window)
    assert found
    asked, rows = found
    assert len(rows) == len(set(rows.tolist())) == 7
    assert (np.diff(rows) > 0).all()
    places = np.searchsorted(window.user_rows, rows)
    np.testing.assert_array_equal(asked.wanted.toarray() > 0, window.wanted[places].toarray() > 0)
    np.testing.assert_array_equal(asked.known.toarray() > 0, window.log.matrix("binary")[rows].toarray() > 0)
    strangers = training._new_asked(earlier, window)
    assert strangers
    assert strangers[1].tolist() == list(range(7))
    assert (strangers[0].known.sum(axis=1) == 1).all()  # the first visit
    assert strangers[0].wanted[:, [0, 1, 2]].toarray().all()


def test_nobody_is_asked_where_nobody_came(market: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier, window = before_and_after(market)
    within = examples(earlier, window)
    nobody = replace(
        window, user_rows=window.user_rows[:0], wanted=csr_array(window.wanted[:0]), newcomers=window.newcomers[[]]
    )
    assert training._examples(earlier, nobody, np.random.default_rng(0)) is None
    assert training._known_asked(earlier, nobody) is None
    assert training._new_asked(earlier, nobody) is None
    for some in (replace(window, newcomers=window.newcomers[[]]), replace(nobody, newcomers=window.newcomers)):
        assert training._examples(earlier, some, np.random.default_rng(0))
    seen = choices_of(monkeypatch)
    training._choices(earlier, replace(nobody, newcomers=window.newcomers), within, within)
    assert "bought" not in seen
    assert "cold_start" in seen
    two_visits = window.newcomers.select(np.arange(80) % 4 < 2)  # one item is wanted after the first
    strangers = training._new_asked(earlier, replace(window, newcomers=two_visits))
    assert strangers
    assert len(strangers[1]) == 20


def test_a_side_that_is_too_small_learns_from_both(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, n = np.random.default_rng(0), 400
    config = HybridLearnedConfig(**SMALL)
    features = rng.random((n, 2)).astype(np.float32)
    strange = np.arange(n) >= 300
    labels = np.where(strange, features[:, 1] > 0.5, features[:, 0] > 0.5)
    made = Examples(features, labels, np.ones(n), ~strange, strange, np.arange(n))
    n_wanted = int(labels[strange].sum())

    def says(side: str) -> list[float]:
        """Of two pairs, which only one side tells apart."""
        pairs = np.array([[0.5, 0.1], [0.5, 0.9]], np.float32)
        return np.round(getattr(training._rankers(config, made), side).score(pairs), 3).tolist()

    monkeypatch.setattr(training, "ENOUGH", n_wanted)
    known, apart = says("known"), says("strangers")
    monkeypatch.setattr(training, "ENOUGH", n_wanted + 1)
    assert says("known") == known
    assert says("strangers") != apart  # now the 300 others drown it
    assert apart[1] - apart[0] > 2 * (says("strangers")[1] - says("strangers")[0])
    all_wanted = made._replace(labels=labels | strange)
    monkeypatch.setattr(training, "ENOUGH", 1)
    assert np.ptp(training._rankers(config, all_wanted).strangers.score(features)) > 0.3  # the others taught it


def test_trees_may_fill_their_depth_and_leaves_grow_with_the_examples() -> None:
    config = HybridLearnedConfig(**SMALL)
    sizes = {n: training._estimator(config, n).min_samples_leaf for n in (10, 100_250, 10_000_000)}
    assert sizes == {10: 5, 100_250: 200, 10_000_000: 300}
    assert training._estimator(config, 10).max_leaf_nodes == 8
    assert training._estimator(config, 10).max_iter == 5


def test_all_trees_are_grown_whether_they_help_or_not() -> None:
    rng, n = np.random.default_rng(0), 12_000
    config = HybridLearnedConfig(**(SMALL | {"trees": 40}))
    nothing = Examples(
        rng.random((n, 2)).astype(np.float32),
        rng.random(n) < 0.5,
        np.ones(n),
        np.ones(n, np.bool_),
        np.zeros(n, np.bool_),
        np.arange(n),
    )
    assert len(training._rankers(config, nothing).known.values) == 40


def test_windows_that_ended_when_the_newest_began_judge_it(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of windows of 20 days that begin 20, 30 and 40 days before the end, only the last one had ended then."""
    parts: list[Examples] = []
    before: list[Examples | None] = []
    made = training._examples

    def kept(*given: Any) -> Examples | None:
        parts.append(made(*given))  # type: ignore[arg-type]
        return parts[-1]

    def judged(earlier: Any, window: Any, ended: Examples | None, within: Examples) -> Choices:
        assert within is parts[0]
        before.append(ended)
        return Choices()

    monkeypatch.setattr(training, "_examples", kept)
    monkeypatch.setattr(training, "_choices", judged)
    for n_windows in (3, 2):
        parts.clear()
        model = HybridLearned(HybridLearnedConfig(**(SMALL | {"n_windows": n_windows})))
        members = {"popularity": Popularity().fit(market), "ease": EASE().fit(market)}
        model.compose(members, market)
        assert len(parts) == n_windows
        if n_windows == 3:
            assert before[-1]
            np.testing.assert_array_equal(before[-1].features, parts[2].features)
    assert before[1:] == [None]


def test_newest_events_are_looked_at_where_the_windows_taught_too_little(market: Interactions) -> None:
    earlier, window = before_and_after(market)
    part = examples(earlier, window)
    enough = training.ENOUGH
    for n_wanted, n_windows in ((enough - 1, 2), (enough, 1)):
        labels = np.arange(len(part.labels)) < n_wanted
        assert len(list(training._tried(market, earlier, [part._replace(labels=labels)]))) == n_windows


def test_what_users_are_asked_of_is_what_may_be_recommended_to_them(
    market: Interactions, undated: tuple[Candidates, Window]
) -> None:
    for earlier, window, exclude in ((*before_and_after(market), None), (*undated, True)):
        found = training._known_asked(earlier, window)
        assert found
        known = window.log.histories()[found[1].astype(np.int32)]
        _, columns = earlier.propose(found[1].astype(np.int32), known, 1, earlier.available, exclude)
        np.testing.assert_array_equal(found[0].columns, columns)
