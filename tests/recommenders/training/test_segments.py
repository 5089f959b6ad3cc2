"""The popularity among users with the same attributes: when it is used, and what it is."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.events.interactions import Interactions
from recommenders.models.popularity import Popularity, PopularityConfig
from recommenders.splitting.windows import new_users
from recommenders.storage import schema
from recommenders.training.segments import fit_segments

N_ITEMS, N_DAYS = 20, 100
SUMMED = PopularityConfig(events="summed")  # plain counts, easy to count again


@pytest.fixture(scope="module")
def log(toy_events: Callable[..., pa.Table]) -> Interactions:
    """Two new users a day, who come once more four days later. Of ten items each, users with an even number buy those
    with an even number, and others the odd ones."""
    rng = np.random.default_rng(0)
    pairs, days = [], []
    for user in range(2 * N_DAYS):
        for day in (user // 2, user // 2 + 4):
            for item in rng.choice(10, 4, replace=False).tolist():
                pairs.append((user, 2 * item + user % 2))
                days.append(float(day))
    return Interactions.from_table(toy_events(pairs, days), repeat=True, horizon_days=20.0)


def users_of(log: Interactions, **columns: list[str | None]) -> pa.Table:
    return schema.conform(pa.table({"user_id": log.users.ids.tolist(), **columns}), schema.USERS, "users")


def number(user_id: Any) -> int:
    return int("".join(letter for letter in user_id if letter.isdigit()))


def industries(log: Interactions) -> list[str | None]:
    return [["hotel", "office"][number(user_id) % 2] for user_id in log.users.ids.tolist()]


def noise(log: Interactions) -> list[str | None]:
    return [str(value) for value in np.random.default_rng(1).integers(5, size=len(log.users))]


def test_attributes_that_tell_what_users_buy_are_used_and_others_are_not(log: Interactions) -> None:
    users = users_of(log, industry=industries(log), region=noise(log))
    fitted = fit_segments(Popularity().fit(log), log, users)
    assert fitted.segments
    assert fitted.segments.attributes == ["industry"]
    assert fitted.gain
    assert fitted.gain.low > 0.3  # half of the popular items are of the other industry
    assert fitted.reason.startswith("by industry: NDCG@10 of ")


def test_attributes_that_say_nothing_are_not_used(log: Interactions) -> None:
    for users in (users_of(log, industry=noise(log)), users_of(log, segment=["one"] * len(log.users)), users_of(log)):
        assert fit_segments(Popularity().fit(log), log, users).segments is None
    assert (
        fit_segments(Popularity().fit(log), log, users_of(log)).reason == "no user has an industry, region or segment"
    )


def test_attributes_that_are_chosen_by_chance_do_not_pass(log: Interactions) -> None:
    reasons = []
    for seed in range(10):
        by_chance = [str(value) for value in np.random.default_rng(seed).integers(5, size=len(log.users))]
        fitted = fit_segments(Popularity().fit(log), log, users_of(log, industry=by_chance))
        assert fitted.segments is None
        reasons.append(fitted.reason)
    assert any(reason.endswith("so it may be worse") for reason in reasons)  # chosen by one half, refused by the other


def test_without_new_users_in_a_window_there_are_no_segments(log: Interactions) -> None:
    users = users_of(log, industry=industries(log))
    for other in (replace(log, dated=False), log.select(log.timestamps == log.timestamps.min())):
        fitted = fit_segments(Popularity().fit(other), other, users)
        assert (fitted.segments, fitted.reason) == (None, "no window of the log has new users")


def test_the_list_of_a_segment_is_that_of_plain_counts(log: Interactions) -> None:
    popularity = Popularity(SUMMED).fit(log)
    fitted = fit_segments(popularity, log, users_of(log, industry=industries(log)))
    assert fitted.segments
    strength = fitted.segments.counts["industry"].strength
    everyone, offices = Counter[str](), Counter[str]()
    for row, column in zip(log.user_rows.tolist(), log.item_columns.tolist(), strict=True):
        item = log.items.ids[column]
        everyone[item] += 1
        offices[item] += number(log.users.ids[row]) % 2
    n, n_offices = sum(everyone.values()), sum(offices.values())
    expected = [(offices[i] + strength * everyone[i] / n) / (n_offices + strength) * n for i in log.items.ids.tolist()]
    found = fitted.segments.scores(popularity.popularity_, {"industry": "office"})
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_probabilities_are_those_of_users_who_were_new(log: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommenders.models.calibration.MIN_BOUGHT", 5)
    popularity = Popularity().fit(log)
    fitted = fit_segments(popularity, log, users_of(log, industry=industries(log)))
    assert fitted.segments
    assert fitted.calibration
    scores = np.sort(fitted.segments.scores(popularity.popularity_, {"industry": "hotel"}))[::-1][None, :10]
    of_segment = fitted.calibration.probabilities("segment", popularity.shares(scores))
    popular = popularity.ranked_users(log.matrix("binary"), log.available).scores[:1, :10]
    of_all = fitted.calibration.probabilities("popularity", popular)
    assert of_segment is not None
    assert of_all is not None
    # in two visits to the ten items of the industry a new user buys each with 1 - .6^2 = .64; most users of a window
    # come twice within it
    assert of_segment.mean() == pytest.approx(0.6, abs=0.08)
    assert of_all.mean() == pytest.approx(0.3, abs=0.06)


def test_new_users_have_no_earlier_event_and_windows_do_not_overlap(log: Interactions) -> None:
    found = list(new_users(log, 3, 20.0))
    seen = [set(window.user_rows.tolist()) for window in found]
    assert len(found) == 3
    assert sum(len(one) for one in seen) == len(set.union(*seen))
    for window in found:
        assert not set(window.user_rows.tolist()) & set(window.log.user_rows.tolist())
        assert (np.diff(window.targets.indptr) > 0).all()
    assert int(log.user_rows[-1]) in seen[0]  # of the newest event
