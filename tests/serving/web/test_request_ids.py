"""Ids of requests."""

from serving.web import request_ids


def test_new_ids_rise_with_time_and_are_unique() -> None:
    ids = [request_ids.new() for _ in range(10_000)]
    times = [one[:13] for one in ids]
    assert times == sorted(times)
    assert times[0] < times[-1]
    assert len(set(ids)) == len(ids)
    assert all(request_ids.ALLOWED.fullmatch(one.encode()) for one in ids)
