"""The file of limits: what is delivered is the defaults, and a wrong value is named."""

from pathlib import Path

import pytest

from orchestration.retention.configuration import RetentionConfig
from recommenders.errors import ConfigurationError
from serving.settings import PROJECT


def test_the_delivered_file_has_every_key_with_its_default() -> None:
    path = PROJECT / "configs" / "retention.yaml"
    assert RetentionConfig.load(path) == RetentionConfig()
    assert [line.partition(":")[0] for line in path.read_text().splitlines() if not line.startswith("#")] == [
        *RetentionConfig.model_fields
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("versions: 0", "versions: got 0; allowed: a whole number, 1 or more, or null; correct the value"),
        ("bentos: '5'", "bentos: got '5'; allowed: a whole number"),
        ("runs_days: true", "runs_days: got True; allowed: a whole number"),
        ("version: 3", "version: no such key; choose from .* did you mean versions"),
        ("- 3", "got a list; allowed: the keys versions, bentos"),
        ("a: [", "is not YAML: .*; correct the file"),
    ],
)
def test_a_wrong_file_is_an_error_of_one_line(tmp_path: Path, text: str, message: str) -> None:
    (path := tmp_path / "retention.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        RetentionConfig.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_null_keeps_everything_and_a_missing_key_is_the_default(tmp_path: Path) -> None:
    (path := tmp_path / "retention.yaml").write_text("versions: null")
    assert RetentionConfig.load(path) == RetentionConfig(versions=None)
    path.write_text("# nothing")
    assert RetentionConfig.load(path) == RetentionConfig()
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        RetentionConfig.load(tmp_path / "none.yaml")
