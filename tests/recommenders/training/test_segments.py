"""The popularity among users with the same attributes: when it is used, and what it is."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.features.ranking import feature_horizon_days
from recommenders.models.popularity import Popularity, PopularityConfig, segment_popularity
from recommenders.splitting.windows import NewUsers, new_users
from recommenders.storage import schema
from recommenders.training import segments
from recommenders.training.segments import AttributeValues, Joined, fit_segments

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
    again = users_of(log, industry=industries(log), region=industries(log))  # which says nothing more
    assert fit_segments(Popularity().fit(log), log, again).segments.attributes == ["industry"]  # type: ignore[union-attr]


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


def test_one_new_user_with_an_attribute_decides_nothing(log: Interactions) -> None:
    popularity, reasons = Popularity().fit(log), []
    for user in range(160, 180):
        industry = ["hotel" if number(user_id) in (user, user % 2) else None for user_id in log.users.ids.tolist()]
        fitted = fit_segments(popularity, log, users_of(log, industry=industry))
        assert fitted.segments is None
        reasons.append(fitted.reason)
    assert not any("nan" in reason for reason in reasons)
    assert any(reason.endswith("to decide by; needed: 2") for reason in reasons)


def some_industries(log: Interactions) -> list[str | None]:
    """Every third user is of none."""
    of_all = zip(log.users.ids.tolist(), industries(log), strict=True)
    return [industry if number(user_id) % 3 else None for user_id, industry in of_all]


def test_the_list_of_a_segment_is_that_of_plain_counts(log: Interactions) -> None:
    popularity = Popularity(SUMMED).fit(log)
    fitted = fit_segments(popularity, log, users_of(log, industry=some_industries(log)))
    assert fitted.segments
    strength = fitted.segments.counts["industry"].strength
    everyone, own = Counter[str](), Counter[tuple[int | None, str]]()
    for row, column in zip(log.user_rows.tolist(), log.item_columns.tolist(), strict=True):
        item = log.items.ids[column]
        everyone[item] += 1
        user = number(log.users.ids[row])
        own[user % 2 if user % 3 else None, item] += 1
    ids, n = log.items.ids.tolist(), sum(everyone.values())
    for value, industry in enumerate(("hotel", "office")):
        n_own = sum(own[value, i] for i in ids)
        expected = [(own[value, i] + strength * everyone[i] / n) / (n_own + strength) * n for i in ids]
        found = fitted.segments.scores(popularity.popularity_, {"industry": industry})
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_users_whom_the_log_does_not_know_change_nothing(log: Interactions) -> None:
    known = users_of(log, industry=industries(log))
    others = pa.table({"user_id": ["one", "another"], "industry": ["bar", "hotel"]})
    more = pa.concat_tables([known, schema.conform(others, schema.USERS, "users")])
    (one, other) = (fit_segments(Popularity().fit(log), log, users).segments for users in (known, more))
    assert one
    assert other
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name])


def test_the_half_of_the_new_users_that_chose_does_not_decide(log: Interactions) -> None:
    industry = some_industries(log)
    reason = fit_segments(Popularity().fit(log), log, users_of(log, industry=industry)).reason
    has_any, windows = np.array(industry, dtype=bool), new_users(log, segments.MAX_WINDOWS, feature_horizon_days(log))
    n_deciding = sum(int(has_any[window.user_rows].sum()) // 2 for window in windows)
    assert f"NDCG@10 of {n_deciding} users who were new" in reason


@pytest.fixture(scope="module")
def newest(log: Interactions) -> tuple[NewUsers, AttributeValues]:
    """The users of the newest window. A third of all users are of no industry."""
    of_user = [number(user_id) % 3 - 1 for user_id in log.users.ids.tolist()]
    return next(new_users(log, 1, 20.0)), AttributeValues(IdMap.from_ids(["hotel", "office"]), np.array(of_user))


def joined_of(newest: tuple[NewUsers, AttributeValues], popularity: Popularity) -> Joined:
    return Joined.of(popularity, newest[0], {"industry": newest[1]})


def test_evidence_is_the_share_in_the_segment_over_that_in_all_events(
    newest: tuple[NewUsers, AttributeValues], log: Interactions
) -> None:
    joined, (window, values) = joined_of(newest, Popularity(SUMMED).fit(log)), newest
    changed = joined.popularity.copy()
    changed[3:5] = 0.0, 0.5  # as if none had bought item 3, and one item 4 long ago
    joined = replace(joined, popularity=changed)
    counts = np.zeros((3, N_ITEMS))  # the last row: of no industry
    np.add.at(counts, (values.of_user[window.log.user_rows], window.log.item_columns), 1)
    totals, expected = counts.sum(axis=1), []
    for place, row in enumerate(joined.rows.tolist()):
        targets = [item for item in joined.targets[[place]].indices.tolist() if item != 3]
        value = values.of_user[row]
        for item in targets if value >= 0 else ():
            ratio = counts[value, item] / joined.popularity[item] * joined.popularity.sum()
            expected.append((ratio, totals[value], 1 / len(targets)))
    np.testing.assert_allclose(np.column_stack(joined.evidence("industry")), expected, rtol=1e-5)


def test_the_strength_makes_the_targets_most_probable(
    newest: tuple[NewUsers, AttributeValues], log: Interactions
) -> None:
    """Of 40 industries with few users each, every one buys the items of a half of the users; then, the other half."""
    (window, _), popularity = newest, Popularity().fit(log)
    ids = IdMap.from_ids(f"{n:02}" for n in range(40))
    half = np.array([number(user_id) % 2 for user_id in log.users.ids.tolist()])
    of_user = 2 * np.random.default_rng(3).integers(20, size=len(half)) + half
    some = joined_of((window, AttributeValues(ids, of_user)), popularity)
    ratios, totals, weights = some.evidence("industry")

    def gain(strength: float) -> float:
        return float(weights @ np.log((ratios + strength) / (totals + strength)))

    grid = some.total * np.logspace(-6, 0, 200)
    found = segments._strength([some], "industry")
    assert found
    assert grid[1] < found < grid[-2]
    assert gain(found) >= max(gain(each) for each in grid) - 1e-4
    of_user[window.user_rows] ^= 1
    assert segments._strength([joined_of((window, AttributeValues(ids, of_user)), popularity)], "industry") is None


def test_the_list_of_a_new_user_is_that_of_its_segment_or_else_that_of_all(
    newest: tuple[NewUsers, AttributeValues], log: Interactions
) -> None:
    joined, values = joined_of(newest, Popularity().fit(log)), newest[1]
    counts = joined.segments["industry"].counts.toarray()
    found = joined.ranked({"industry": 2.0}, 5)
    for row, scores in zip(joined.rows.tolist(), found.scores, strict=True):
        own = [counts[values.of_user[row]]] if values.of_user[row] >= 0 else []
        expected = segment_popularity(joined.popularity.astype(np.float64), own, [2.0] * len(own))
        np.testing.assert_allclose(scores, np.sort(expected[joined.available])[::-1][:5], rtol=1e-5)


def test_values_that_none_of_some_users_has_are_not_counted(
    newest: tuple[NewUsers, AttributeValues], log: Interactions
) -> None:
    values, weights = newest[1], np.ones(len(log))
    every = values.segments(log, weights, 0.0).counts.toarray()
    for value in (0, 1):
        some = values.only(np.flatnonzero(values.of_user == value).astype(np.int32)).segments(log, weights, 0.0)
        assert some.counts.toarray().tolist() == np.where(np.arange(2)[:, None] == value, every, 0).tolist()


def test_each_user_with_an_attribute_is_in_one_half(
    newest: tuple[NewUsers, AttributeValues], log: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    (window, values), popularity = newest, Popularity().fit(log)
    joined = joined_of(newest, popularity)
    assert joined.rows.tolist() == window.user_rows.tolist()
    one, other = (joined.half(number, {"industry": values}) for number in (0, 1))
    assert sorted([*one.rows, *other.rows]) == [row for row in joined.rows if values.of_user[row] >= 0]
    assert 0 <= len(one.rows) - len(other.rows) <= 1
    assert one.targets.toarray().tolist() == joined.targets[np.isin(joined.rows, one.rows)].toarray().tolist()
    monkeypatch.setattr(segments, "MAX_USERS", 7)  # then some, the first and the last among them
    some = joined_of(newest, popularity).rows
    assert (len(set(some)), some[0], some[-1]) == (7, joined.rows[0], joined.rows[-1])


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
    for kind, shares in (("segment", popularity.shares(scores)), ("popularity", popular)):  # the curves are of shares
        known = fitted.calibration.curves[kind][0].scores
        assert known.min() < shares.mean() < known.max()


def test_new_users_have_no_earlier_event_and_windows_do_not_overlap(log: Interactions) -> None:
    found = list(new_users(log, 3, 20.0))
    seen = [set(window.user_rows.tolist()) for window in found]
    assert len(found) == 3
    assert sum(len(one) for one in seen) == len(set.union(*seen))
    for window in found:
        assert not set(window.user_rows.tolist()) & set(window.log.user_rows.tolist())
        assert (np.diff(window.targets.indptr) > 0).all()
    assert int(log.user_rows[-1]) in seen[0]  # of the newest event
