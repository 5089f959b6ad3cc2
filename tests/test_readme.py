"""The commands, links and make targets in the README and in docs/ exist."""

import re
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from orchestration.cli import app
from recommenders.models.all_models import MODELS
from recommenders.training.configuration import ModelsConfig

PROJECT = Path(__file__).resolve().parent.parent
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_a_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def commands() -> list[tuple[str, ...]]:
    """Each `tradewind a b` on any page, with its options."""
    found = set()
    for page in PAGES:
        for line in re.findall(
            r"tradewind ((?:run|data|train|evaluate|validate|benchmark|release|batch|quality|status|alerts|drift)\b"
            r"[^\n`|#]*)",
            page.read_text(),
        ):
            words = line.split()
            path = [words[0]]
            if (
                words[0] in ("data", "release", "alerts", "drift")
                and len(words) > 1
                and re.fullmatch("[a-z][a-z-]*,?", words[1])
            ):
                path.append(words[1].rstrip(","))
            options = re.findall(r"--[a-z-]+", line)
            found.add((" ".join(path), *options))
    return sorted(found)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_exist_with_their_options(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*command[0].split(), "--help"])
    assert done.exit_code == 0, done.output
    for option in command[1:]:
        assert option in done.output, f"tradewind {command[0]} has no {option}"


def test_the_readme_names_every_command() -> None:
    table = [line.split("|")[1] for line in PAGES[0].read_text().splitlines() if line.startswith("| `tradewind")]
    for name, command in vars(get_command(app))["commands"].items():
        row = " ".join(cell for cell in table if f"tradewind {name}" in cell)
        assert row, f"README.md lacks tradewind {name}"
        for below in (
            (n for n, c in command.commands.items() if not c.hidden) if isinstance(command, TyperGroup) else ()
        ):
            assert re.search(rf"\b{below}\b", row), f"README.md lacks tradewind {name} {below}"


def test_the_training_page_describes_every_model_in_a_row() -> None:
    page = (PROJECT / "docs" / "training.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(MODELS)


def test_make_targets_exist() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`?make ([a-z]+)", page.read_text()):
            if target in {"the", "anything", "a"}:
                continue
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name} mentions make {target}"


def test_the_conventions_page_names_every_setting_of_a_model() -> None:
    page = (PROJECT / "docs" / "conventions.md").read_text().partition("## Settings of the models")[2]
    rows = {match[1]: match[0] for match in re.finditer(r"^\| `(\w+)` \|.*$", page, re.MULTILINE)}
    used = set()
    for model, section in ModelsConfig.model_fields.items():
        for name in section.annotation.model_fields:
            used.add(name)
            assert name in rows, f"docs/conventions.md lacks {name} of {model}"
            assert f"`{model}`" in rows[name] or "| all |" in rows[name], f"docs/conventions.md: {name} lacks {model}"
    assert set(rows) == used
