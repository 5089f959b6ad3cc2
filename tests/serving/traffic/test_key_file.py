"""The file of API keys: what it holds, and what is refused without showing a value."""

import hashlib
import stat

import pytest
import yaml

from recommenders.errors import ConfigurationError
from serving.traffic.key_file import add_key, read_keys, remove_key


def test_only_the_hash_is_stored_and_only_the_owner_can_read_it(tmp_path):
    path = tmp_path / "keys.yaml"
    key = add_key(path, "shop", 50, 100, [])
    assert key.startswith("tw_")
    assert len(key) > 40
    assert key not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (entry,) = read_keys(path)
    assert (entry.name, entry.per_second, entry.burst, entry.scopes) == ("shop", 50, 100, [])
    assert entry.sha256 == hashlib.sha256(key.encode()).hexdigest()


def test_keys_differ_and_others_stay_when_one_is_removed(tmp_path):
    path = tmp_path / "keys.yaml"
    keys = {add_key(path, name, None, None, ["admin"] if name == "c" else []) for name in "abc"}
    assert len(keys) == 3
    remove_key(path, "b")
    assert [(entry.name, entry.scopes) for entry in read_keys(path)] == [("a", []), ("c", ["admin"])]
    with pytest.raises(ConfigurationError, match=r"has no key b; it has a, c"):
        remove_key(path, "b")
    with pytest.raises(ConfigurationError, match=r"has a key a already"):
        add_key(path, "a", None, None, [])


def test_the_burst_is_by_default_that_of_one_second(tmp_path):
    for name, per_second, burst, expected in [("a", 2.5, None, 3), ("b", 0.1, None, 1), ("c", 5.0, 40, 40)]:
        add_key(tmp_path / "keys.yaml", name, per_second, burst, [])
        assert read_keys(tmp_path / "keys.yaml")[-1].at_once == expected


@pytest.mark.parametrize(
    ("name", "limits", "message"),
    [
        ("a b", (None, None), r"name: got 'a b'; allowed: letters, digits"),
        ("../x", (None, None), r"name: got '../x'"),
        ("a", (0, None), r"per_second: got 0; allowed: Input should be greater than 0"),
        ("a", (None, 5), r"--burst: got a burst without a limit"),
    ],
)
def test_a_wrong_entry_is_not_added(tmp_path, name, limits, message):
    with pytest.raises(ConfigurationError, match=message):
        add_key(tmp_path / "keys.yaml", name, *limits, [])
    assert not (tmp_path / "keys.yaml").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("keys: [", r"is not YAML \(line 1\)"),
        ("- a", r"the file: Input should be"),
        ("keys: [{name: a}]", r"keys.0.sha256: Field required"),
        ("keys: [{name: a, sha256: tw_secret}]", r"keys.0.sha256: String should match"),
        ("keys: [{name: a, sha256: %s, rate: 5}]", r"keys.0.rate: Extra inputs"),
        ("keys: [{name: a, sha256: %s, scopes: [root]}]", r"keys.0.scopes.0: Input should be 'admin'"),
        ("keys: [{name: a, sha256: %s}, {name: a, sha256: %s}]", r"got the name a twice"),
    ],
)
def test_a_wrong_file_is_an_error_that_shows_no_value(tmp_path, content, message):
    path = tmp_path / "keys.yaml"
    path.write_text(content.replace("%s", "'" + "0" * 64 + "'"))
    with pytest.raises(ConfigurationError, match=message) as found:
        read_keys(path)
    assert "tw_secret" not in str(found.value)


def test_a_missing_file_and_an_empty_one(tmp_path):
    with pytest.raises(ConfigurationError, match=r"does not exist; create it with: tradewind keys add NAME"):
        read_keys(tmp_path / "keys.yaml")
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump({"keys": []}))
    assert read_keys(tmp_path / "keys.yaml") == []
