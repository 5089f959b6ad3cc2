"""The cache in a real Redis: shared, with a time to live; and a Redis that is down, slow, or not one."""

import os
import signal
import socket
import sys
from collections.abc import Callable

import pytest

from recommenders.errors import ConfigurationError
from serving.lists.cache import redis_cache
from serving.lists.cache.redis_cache import SKIP_SECONDS, CacheUnavailableError, RedisCache

pytest.importorskip("redis", reason="redis is not installed (pip install -e '.[dev]')")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_cache, "TIMEOUT", 0.5)  # the machine may be busy


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_two_services_share_entries_and_each_has_a_time_to_live(redis_url: str) -> None:
    import redis

    one, other = RedisCache(redis_url, 7), RedisCache(redis_url, 7)
    one.put("tradewind:a:1", b"\x00\xff")
    one.put("tradewind:b:1", b"b")
    assert (other.get("tradewind:a:1"), other.get("tradewind:c:1")) == (b"\x00\xff", None)
    client = redis.Redis.from_url(redis_url)
    assert 0 < client.ttl("tradewind:a:1") <= 7
    other.forget("tradewind:a:")
    assert (one.get("tradewind:a:1"), one.get("tradewind:b:1")) == (None, b"b")
    client.close()


def test_a_redis_that_is_down_is_asked_again_after_some_seconds_and_logged_once(
    redis_server: tuple[int, str], redis_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked = Clock(), []
    cache = RedisCache(redis_url, 7, clock)
    cache.put("a", b"x")
    get = cache._client.get
    monkeypatch.setattr(cache._client, "get", lambda key: asked.append(key) or get(key))
    os.kill(redis_server[0], signal.SIGSTOP)  # it accepts connections and answers nothing
    try:
        for n in range(6):
            with pytest.raises(CacheUnavailableError):
                cache.get("a")
            assert len(asked) == 1 + n // 3
            clock.now += SKIP_SECONDS / 3 + 0.01
    finally:
        os.kill(redis_server[0], signal.SIGCONT)
    clock.now += SKIP_SECONDS
    assert cache.get("a") == b"x"
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "the cache does not answer",
        "the cache answers again",
    ]


@pytest.mark.parametrize("method", [lambda c: c.get("a"), lambda c: c.put("a", b""), lambda c: c.forget("a")])
def test_no_server_and_a_server_that_is_no_redis_are_unavailable(
    free_port: int, method: Callable[[RedisCache], object]
) -> None:
    with pytest.raises(CacheUnavailableError):
        method(RedisCache(f"redis://127.0.0.1:{free_port}/0", 7))
    # this one never answers
    with socket.create_server(("127.0.0.1", free_port)), pytest.raises(CacheUnavailableError):
        method(RedisCache(f"redis://127.0.0.1:{free_port}/0", 7))


def test_a_wrong_password_is_an_outage_and_in_no_message(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CacheUnavailableError):
        RedisCache(redis_url.replace("redis://", "redis://:hush@"), 7).get("a")
    assert "the cache does not answer" in caplog.text
    assert "hush" not in caplog.text


def test_a_wrong_address_and_a_missing_client_say_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="allowed: redis://HOST:PORT/NUMBER") as caught:
        RedisCache("redis://:hush@host:port/0", 7)
    assert "hush" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"pip install -e '.\[redis\]'"):
        RedisCache("redis://127.0.0.1:1/0", 7)
