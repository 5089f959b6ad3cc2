"""Prediction drift: what the champion's lists show, in stores that the tests fill."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student

from monitoring.online.reader import OnlineReader
from monitoring.predictions.changes import Period, compare
from monitoring.predictions.drift import NO_VERSION, PredictionDrift, prediction_drift
from monitoring.predictions.page import drift_table, plot_days, release_table
from monitoring.predictions.served import FIGURES, MISSING, served
from recommenders.storage import schema
from serving.feedback.store import FeedbackStore
from serving.feedback.stored_answer import StoredAnswer

DAY = 86_400_000_000
RELEASE_DAY = 20_000
RELEASED = datetime.fromtimestamp(RELEASE_DAY * 86_400, UTC) + timedelta(hours=9)
CATEGORIES = ("office", "tools", "safety", "cleaning", "lab")
N_USERS, PER_CATEGORY, K = 80, 30, 10


@dataclass(frozen=True)
class Lists:
    """How the lists of a week are made."""

    version: int = 8
    n_users: int = N_USERS
    n_lists: int = 2  # of a user
    categories: Sequence[str] = CATEGORIES
    per_category: int = PER_CATEGORY
    scores: float = 1.0
    cold_starts: float = 0.1  # share of users
    empty: float = 0.0  # share of lists
    launched: bool = False  # the lists have items of "lab" that are new

    def answers(self, week: int, seed: int) -> list[StoredAnswer]:
        """Each user has an own preference for the categories, the same in all weeks, and an own level of scores."""
        rng, answers = np.random.default_rng([seed, week + 9, self.version]), []
        for user in range(self.n_users):
            own = np.random.default_rng([seed, user])
            taste, level, is_cold = own.dirichlet(np.ones(len(CATEGORIES))), own.uniform(0.1, 0.5), own.random()
            shares = taste[: len(self.categories)] / taste[: len(self.categories)].sum()
            strategy = "popularity" if is_cold < self.cold_starts else "known_user"
            for n in range(rng.integers(self.n_lists, self.n_lists + 2)):
                length = 0 if rng.random() < self.empty else K
                chosen = rng.choice(self.categories, length, p=shares)
                numbers = rng.integers(0, self.per_category, length)
                falling = np.sort(level * self.scores * rng.uniform(0.5, 1, length))[::-1]
                prefix = "new-" if self.launched else ""
                items = [
                    {"item_id": f"{prefix}{category}-{number}", "rank": rank, "score": float(score)}
                    for rank, (category, number, score) in enumerate(zip(chosen, numbers, falling, strict=True), 1)
                ]
                time = (RELEASE_DAY + 7 * week + int(rng.integers(7))) * DAY + int(rng.integers(DAY))
                made_by = ("for_you", strategy, "hybrid", self.version, "{}", [], items)
                answers.append(StoredAnswer(f"{self.version}-{week}-{user}-{n}", time, f"u{user}", *made_by))
        return answers


USUAL = Lists()
CHANGES = {
    "category": replace(USUAL, categories=CATEGORIES[:-1]),
    "score": replace(USUAL, scores=0.5),
    "coverage": replace(USUAL, per_category=5),
    "strategy": replace(USUAL, cold_starts=0.4),
    "length": replace(USUAL, empty=0.1),
    "new items": replace(USUAL, launched=True),
}
NAMES = {  # as regular expressions; two shares that add up to 1 change alike
    "category": "'lab' ",
    "score": "mean 0.",
    "coverage": "effective items ",
    "strategy": "('popularity' 6.6% -> 4|'known_user' 9)",
    "length": "('0' 0.0% -> |'10' 100.0% -> )",
    "new items": "share of the slots 0.0% -> 100.0%",
}


def catalogue(categories: Sequence[str] = CATEGORIES, dated: bool = True) -> pa.Table:
    """All items of the lists, in schema.ITEMS; new ones are on sale since the third week."""
    ids = [f"{new}{category}-{n}" for new in ("", "new-") for category in categories for n in range(PER_CATEGORY)]
    since = [RELEASED + timedelta(days=14 if name.startswith("new-") else -400) if dated else None for name in ids]
    named = [name.removeprefix("new-").split("-")[0] for name in ids]
    return schema.conform(pa.table({"item_id": ids, "category": named, "available_from": since}), schema.ITEMS, "items")


@pytest.fixture
def found(tmp_path: Path) -> Callable[..., PredictionDrift]:
    """Stores the lists of the weeks from the release on, and returns the result on a later day."""

    def find(*weeks: Lists, seed: int = 0, begin: int = 0, extra: Sequence[Lists] = (), **more: Any) -> PredictionDrift:
        answers = [each for n, week in enumerate(weeks, begin) for each in week.answers(n, seed)]
        answers += [each for n, week in enumerate(extra) for each in week.answers(n, seed)]
        return result(fill(tmp_path, answers), **({"day": 7 * (begin + len(weeks))} | more))[0]

    return find


def fill(folder: Path, answers: Sequence[StoredAnswer]) -> OnlineReader:
    url = f"sqlite:///{folder / 'events.db'}"
    store = FeedbackStore(url, "toy")
    store.append_answers(answers)
    store.close()
    return OnlineReader(url, "toy")


def result(
    reader: OnlineReader, day: int = 21, kept_days: float = 30, items: Sequence[pa.Table] | None = None
) -> tuple[PredictionDrift, pd.DataFrame]:
    now = (RELEASE_DAY + day) * DAY + DAY // 2
    known = [catalogue()] if items is None else items
    return prediction_drift("toy", reader, known, 8, RELEASED, now, kept_days)


def test_unchanged_lists_are_no_drift(tmp_path: Path) -> None:
    """Also with half as many lists as before. And changes are as large as their errors say. Limits as by Bonferroni."""
    scores = []
    for seed in range(4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        last = replace(USUAL, n_lists=1) if seed % 2 else USUAL
        weeks = [week.answers(n, seed) for n, week in enumerate([USUAL, USUAL, last])]
        one, _ = result(fill(folder, [each for week in weeks for each in week]))
        assert not one.drifted, one.summary
        assert one.window_end == date.fromordinal(719_163 + RELEASE_DAY + 20)
        assert {column.name for column in one.columns} == set(FIGURES)
        limits = {column.name: column.threshold for column in one.columns}
        assert limits["coverage"] == pytest.approx(student.ppf(1 - 0.01 / len(FIGURES) / 2, N_USERS - 1))
        assert limits["category"] == pytest.approx(student.ppf(1 - 0.01 / len(FIGURES) / 10, N_USERS - 1))
        scores += [column.score for column in one.columns if column.name in ("coverage", "score")]
    assert 0.5 < np.sqrt(np.mean(np.square(scores))) < 2


@pytest.mark.parametrize("figure", CHANGES)
def test_a_change_without_a_release_names_its_figure(figure: str, found: Callable[..., PredictionDrift]) -> None:
    one = found(USUAL, USUAL, CHANGES[figure])
    assert one.drifted
    assert one.columns[0].name == figure, one.summary
    assert re.match(f"{figure} changed most: {NAMES[figure]}", one.summary)
    others = [column.name for column in one.columns[1:] if column.drifted]
    # without a category there are fewer items; new items are items that no list had
    assert set(others) <= {"category": {"coverage"}}.get(figure, set()), one.summary


def test_the_drift_is_over_when_both_windows_before_have_it(found: Callable[..., PredictionDrift]) -> None:
    assert found(USUAL, *[CHANGES["score"]] * 2).drifted
    assert not found(USUAL, *[CHANGES["score"]] * 3, seed=1).drifted


def test_a_change_that_is_certain_and_small_does_not_count(found: Callable[..., PredictionDrift]) -> None:
    one = found(USUAL, USUAL, replace(USUAL, scores=0.9))
    (score,) = (column for column in one.columns if column.name == "score")
    assert score.score > score.threshold
    assert not one.drifted


def test_the_lists_of_a_release_are_shown_and_are_no_drift(found: Callable[..., PredictionDrift]) -> None:
    earlier = replace(CHANGES["category"], version=7, scores=2.0)
    one = found(earlier, earlier, USUAL, begin=-2)
    assert not one.drifted
    assert one.columns == ()
    assert "version 8 has served for 1 whole windows of 7 days; it needs two" in one.summary
    assert {column.name for column in one.release if column.drifted} == {"category", "score", "coverage"}
    assert "| score | mean 0." in release_table(one.release)
    assert found(earlier, earlier, USUAL, begin=-2, day=6).release == ()  # its last day is not over


def test_lists_of_other_versions_do_not_count(found: Callable[..., PredictionDrift]) -> None:
    """A challenger in an experiment, with other lists, beside the champion."""
    other = replace(CHANGES["category"], version=9, scores=0.2)
    assert not found(USUAL, USUAL, USUAL, extra=[replace(other, n_users=0)] * 2 + [other]).drifted


def test_too_few_lists_are_not_tested(found: Callable[..., PredictionDrift]) -> None:
    few = found(USUAL, replace(CHANGES["score"], n_users=29, n_lists=4))
    assert (few.drifted, few.columns, few.window_end) == (False, (), None)
    assert "lists of 80 users before, " in few.summary
    assert " of 29 now; 100 of 30 are needed" in few.summary
    assert few.summary.startswith("not tested: every figure (")


def test_only_whole_windows_count_whose_lists_are_all_stored(found: Callable[..., PredictionDrift]) -> None:
    assert not found(USUAL, USUAL, CHANGES["score"], day=20).drifted  # its last day is not over
    assert found(USUAL, USUAL, CHANGES["score"], day=27).drifted
    assert found(CHANGES["score"], USUAL, CHANGES["score"], day=21, kept_days=15).drifted  # one window before
    none = found(USUAL, USUAL, CHANGES["score"], day=21, kept_days=13)
    assert "their lists have to be stored" in none.summary


def test_an_item_that_is_gone_keeps_its_category(found: Callable[..., PredictionDrift]) -> None:
    now = catalogue(CATEGORIES[:-1])
    known = found(USUAL, CHANGES["category"], items=[now, catalogue()])
    assert "category changed most: 'lab' " in known.summary
    unknown = found(USUAL, CHANGES["category"], items=[now])
    assert f"category changed most: {MISSING!r} " in unknown.summary


def test_what_is_not_known_is_not_tested(found: Callable[..., PredictionDrift]) -> None:
    one = found(USUAL, USUAL, items=[])
    assert one.not_tested == tuple(f"{figure} (too few known values)" for figure in ("category", "new items"))
    dateless = found(USUAL, USUAL, items=[catalogue(dated=False)])
    assert dateless.not_tested == ("new items (too few known values)",)


def test_the_effective_number_of_items_does_not_grow_with_the_lists(tmp_path: Path) -> None:
    """It is the inverse share of the pairs of slots, of different users, with the same item. Scores are plain means."""
    few, many = replace(USUAL, n_lists=1), replace(USUAL, n_lists=8)
    answers = [*few.answers(0, 3), *many.answers(1, 3)]
    week = 7
    before, now = (Period(RELEASE_DAY + n * week, RELEASE_DAY + (n + 1) * week, 8) for n in range(2))
    with served(fill(tmp_path, answers), [], RELEASE_DAY, now.end) as engine:
        changes = compare(engine, before, now).changes
    change = changes["coverage"]
    scores = [item["score"] for answer in answers[: len(few.answers(0, 3))] for item in answer.items[:3]]
    assert changes["score"].before[0] == pytest.approx(np.mean(scores))
    shown = np.array([matrix(answers, period) for period in (before, now)])
    effective = effective_items(shown)
    np.testing.assert_allclose([change.before[0], change.now[0]], effective)
    assert abs(change.effect[0]) < 3 * change.error[0]
    without = [effective_items(np.delete(shown, user, axis=1)) for user in range(N_USERS)]
    jackknife = np.log([each[1] / each[0] for each in without]).std() * np.sqrt(N_USERS - 1)
    assert change.error[0] == pytest.approx(jackknife, rel=0.1)


def matrix(answers: Sequence[StoredAnswer], period: Period) -> NDArray[np.float64]:
    """(n_users, n_items) how often each user was shown each item."""
    shown = np.zeros((N_USERS, len(CATEGORIES) * PER_CATEGORY))
    for answer in answers:
        if period.begin <= answer.answered_at // DAY < period.end:
            for item in answer.items:
                category, number = item["item_id"].split("-")
                column = CATEGORIES.index(category) * PER_CATEGORY + int(number)
                shown[int(answer.user_id[1:]), column] += 1
    return shown


def effective_items(shown: NDArray[np.float64]) -> list[float]:
    """By all pairs of users, for each period. shown: (n_periods, n_users, n_items)."""
    found = []
    for period in shown:
        between = ~np.eye(len(period), dtype=bool)
        slots = period.sum(axis=1)
        found.append(float((np.outer(slots, slots) * between).sum() / ((period @ period.T) * between).sum()))
    return found


def test_the_page_has_each_figure(tmp_path: Path) -> None:
    reader = fill(tmp_path, [*USUAL.answers(0, 0), *CHANGES["score"].answers(1, 0)])
    earlier = pa.array([f"earlier {name}" for name in catalogue()["category"].to_pylist()])
    renamed = catalogue().set_column(schema.ITEMS.get_field_index("category"), "category", earlier)
    one, days = result(reader, day=14, items=[catalogue(), renamed])
    assert set(days[days["figure"] == "category"]["value"]) == set(CATEGORIES)
    table = drift_table(one)
    assert "| score | mean 0." in table
    assert table.count("| drifted |") == 1
    assert table.count("| no drift |") == len(FIGURES) - 1
    assert set(days["figure"]) == set(FIGURES)
    for figure in ("scene", "category", "new items"):
        sums = days[days["figure"] == figure].groupby("day")["y"].sum()
        np.testing.assert_allclose(sums, 1)
    assert plot_days(days, one, RELEASED).startswith(b"\x89PNG")


def test_without_lists_nothing_is_tested(tmp_path: Path) -> None:
    one, days = result(OnlineReader(f"sqlite:///{tmp_path / 'none.db'}", "toy"))
    assert (one.drifted, len(days)) == (False, 0)
    assert "0 lists of 0 users before" in one.summary
    assert PredictionDrift("toy", None).summary == NO_VERSION
