"""The file of alerts: errors name the file, the key, what was got and what is allowed, and never a URL."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from monitoring.alerts.alert import CAUSES
from monitoring.alerts.configuration import AlertConfig, ChannelConfig, QuietHours, RetryConfig
from recommenders.errors import ConfigurationError

PROJECT = Path(__file__).parents[3]
FILE, PAGE = PROJECT / "configs" / "alerts.yaml", PROJECT / "docs" / "alerts.md"
MAIL = "{name: mail, url: 'mailto://me:topsecret@example.org'}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r": got a list; allowed: the keys channels, group_seconds, .*; correct the file$"),
        ("chanels: []", r": chanels: no such key; allowed: the keys in docs/alerts.md; correct the key$"),
        ("per_hour: 0", r": per_hour: got 0; allowed: greater than or equal to 1; correct the value$"),
        ("channels: [{name: log, url: 'json://x'}]", r": channels.1.name: got 'log'; allowed: any other name; log is"),
        ("channels: [{name: mail}]", r": channels.1.url: got nothing; allowed: a value; add the key$"),
        ("channels: [{name: mail, url: [topsecret]}]", r": channels.1.url: got a list; allowed: a valid string"),
        (f"channels: [{MAIL}, {MAIL}]", r": channels: got mail twice; allowed: each name once; rename one$"),
        (
            "quiet_hours: {begin: 22:00, end: '07:00'}",
            r"quiet_hours.begin: got 1320; allowed: a time in quotes, such as",
        ),
        (
            "quiet_hours: {begin: '7:00', end: '07:00'}",
            r"quiet_hours.begin: got '7:00'; allowed: .*; correct the value$",
        ),
        ("quiet_hours: {begin: '07:00', end: '07:00'}", r"allowed: a begin that differs from the end"),
        (
            "quiet_hours: {begin: '22:00', end: '07:00', time_zone: Europe/Berlim}",
            r"quiet_hours.time_zone: got 'Europe/Berlim'; allowed: a name of the .*did you mean Europe/Berlin",
        ),
        ("channels: [{name: mail, url: 'mailto://me:topsecret@x]", r"alerts.yaml, line \d: not YAML; correct the line"),
    ],
)
def test_a_wrong_file_is_an_error_of_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=message) as error:
        AlertConfig.load(path)
    assert str(path) in str(error.value)
    assert "topsecret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"alerts.yaml cannot be read: No such file"):
        AlertConfig.load(tmp_path / "alerts.yaml")


def test_the_file_of_the_project_sends_nothing_and_its_examples_are_valid(tmp_path: Path) -> None:
    assert AlertConfig.load(FILE) == AlertConfig()
    examples = FILE.read_text().partition("# channels:")[2]
    path = tmp_path / "alerts.yaml"
    path.write_text("channels:" + re.sub(r"(?m)^# ?", "", examples))
    found = AlertConfig.load(path)
    assert [channel.name for channel in found.channels] == ["mail", "slack"]
    assert found.quiet_hours is not None


def test_every_example_of_the_page_is_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        (tmp_path / "alerts.yaml").write_text(block)
        assert AlertConfig.load(tmp_path / "alerts.yaml").model_fields_set == set(yaml.safe_load(block))


def test_the_page_has_every_key_with_its_default_and_a_runbook_for_every_cause() -> None:
    page = PAGE.read_text()
    for prefix, config in (("", AlertConfig), ("channels.", ChannelConfig), ("quiet_hours.", QuietHours)):
        for name in config.model_fields:
            assert f"| `{prefix}{name}` |" in page, name
    for name, field in RetryConfig.model_fields.items():
        assert f"| `retry.{name}` | {field.default:g} |" in page
    for name in ("group_seconds", "per_hour", "reminder_hours"):
        assert f"| `{name}` | {AlertConfig.model_fields[name].default:g} |" in page
    headings = {line.removeprefix("### ").lower() for line in page.splitlines() if line.startswith("### ")}
    assert set(CAUSES) <= headings
    for severity in get_args(ChannelConfig.model_fields["minimum"].annotation):
        assert f"`{severity}`" in page
