"""What goes under a limit: nothing protected, no more than the limit asks for, and the oldest first."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from recommenders.storage.retention import Limit, Stored, what_to_prune

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
LIMITS = st.builds(
    Limit,
    st.none() | st.integers(1, 6),
    st.none() | st.integers(1, 20),
    st.none() | st.integers(1, 100),
)
HISTORIES = st.lists(
    st.builds(Stored, st.text("abc", min_size=1, max_size=3), st.integers(0, 40).map(lambda d: NOW - timedelta(days=d)))
    | st.builds(
        Stored, st.text("de", min_size=1, max_size=3), st.just(NOW), st.integers(0, 200), unfinished=st.booleans()
    ),
    max_size=15,
    unique_by=lambda one: one.name,
)


@given(HISTORIES, LIMITS, st.data())
def test_limits_hold_afterwards_and_nothing_protected_goes(
    found: list[Stored], limit: Limit, data: st.DataObject
) -> None:
    names = [one.name for one in found]
    protected = dict.fromkeys(data.draw(st.sets(st.sampled_from(names)) if names else st.just(set())), "in use")
    pruned = what_to_prune(found, protected, limit, NOW)
    gone = {one.stored.name for one in pruned}
    assert len(gone) == len(pruned)
    assert not gone & set(protected)
    assert all(one.reason for one in pruned)
    left = [one for one in found if one.name not in gone]
    free = [one for one in left if one.name not in protected]
    if limit.newest is not None:
        assert len(left) <= max(limit.newest, len(protected))
    if limit.days is not None:
        assert all(NOW - one.at <= timedelta(days=limit.days) for one in free)
    if limit.max_bytes is not None:
        assert all(one.bytes <= limit.max_bytes for one in free)
    assert not any(one.unfinished for one in free)
    assert what_to_prune(left, protected, limit, NOW) == []
    ages = [one.stored.at for one in pruned]
    assert ages == sorted(ages)
    by_count = [one.stored for one in pruned if "newer ones stay" in one.reason]
    if by_count:  # only as many as needed, and none that is newer than one that stays
        assert len(left) == max(limit.newest or 0, sum(one.name in protected for one in found))
        assert all(one.at <= other.at for one in by_count for other in free)


@given(HISTORIES)
def test_without_a_limit_only_what_was_begun_goes(found: list[Stored]) -> None:
    assert {one.stored.name for one in what_to_prune(found, {}, Limit(), NOW)} == {
        one.name for one in found if one.unfinished
    }
