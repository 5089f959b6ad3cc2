"""Keys are read again when their file changes; a wrong file changes nothing."""

import pytest

from recommenders.errors import ConfigurationError
from serving.traffic.api_keys import POLL_SECONDS, ApiKeys
from serving.traffic.key_file import add_key, remove_key


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now

    def later(self) -> None:
        self.now += POLL_SECONDS


def test_a_new_key_is_found_and_a_removed_one_is_not(tmp_path):
    path, clock = tmp_path / "keys.yaml", Clock()
    first = add_key(path, "first", None, None, [])
    keys = ApiKeys(path, clock)
    assert keys.find(first).name == "first"
    assert keys.find("tw_other") is None
    second = add_key(path, "second", None, None, [])
    assert keys.find(second) is None  # the file is read at most once a second
    clock.later()
    assert keys.find(second).name == "second"
    remove_key(path, "first")
    clock.later()
    assert keys.find(first) is None
    assert keys.find(second).name == "second"


def test_a_wrong_file_is_reported_and_the_old_keys_stay(tmp_path, caplog):
    path, clock = tmp_path / "keys.yaml", Clock()
    key = add_key(path, "shop", None, None, [])
    keys, content = ApiKeys(path, clock), path.read_text()
    assert keys.problem == ""
    for damage in (lambda: path.write_text("keys: [{}]"), path.unlink):
        damage()
        for _ in range(3):
            clock.later()
            assert keys.find(key).name == "shop"
            assert str(path) in keys.problem
    assert len(caplog.records) == 2  # each problem once
    path.write_text(content)
    clock.later()
    assert (keys.find(key).name, keys.problem) == ("shop", "")


def test_without_a_file_no_key_is_accepted_until_there_is_one(tmp_path):
    path, clock = tmp_path / "keys.yaml", Clock()
    keys = ApiKeys(path, clock)
    with pytest.raises(ConfigurationError, match="does not exist"):
        keys.find("tw_any")
    key = add_key(path, "shop", None, None, [])
    clock.later()
    assert keys.find(key).name == "shop"
