"""The code and the docs use the words of docs/conventions.md; replaced words stay out."""

import re
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SOURCES = ("recommenders", "serving", "monitoring", "orchestration", "docs", "configs", "scripts", "README.md")
REPLACED = {  # word -> the one to use
    r"strangers?": "cold-start user",
    r"newcomers?": "cold-start user, new user",
    r"told|tells|telling": "report, log, name, give",
    r"fore(tell|tells|told)": "predict, target",
    r"leash": "process guard",
    r"habits?": "repeat purchases, repurchase",
    r"declin(es|ed)": "skip",
    r"go(es)? on without|gone without": "skip",
    r"the way back": "backward pass; restore",
    r"draws? lots": "random order",
    r"blend(s|ed|ing)?": "ensemble, weighted sum",
    r"crowds?": "popularity baseline",
    r"everybody|somebody|nobody": "all users, a person, no user",
    r"the books": "metadata store",
    r"set aside": "exclude",
    r"misfits?": "schema mismatch",
    r"linear_items": "ease",
    r"implicit_factors": "ials",
    r"known_buyer": "known_user",
}
OLD_NAMES_MAY_STAND = {"recommenders/training/renamed_keys.py"}  # names the new key of an old one


def pages() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "--", *SOURCES], cwd=PROJECT, capture_output=True, text=True)
    names = listed.stdout.split() or [
        path.relative_to(PROJECT).as_posix() for source in SOURCES for path in sorted((PROJECT / source).rglob("*"))
    ]
    return [name for name in names if name.endswith((".py", ".md", ".yaml")) and name not in OLD_NAMES_MAY_STAND]


@pytest.mark.parametrize("word", REPLACED)
def test_a_replaced_word_stays_out(word: str) -> None:
    rule = re.compile(rf"(?<![\w-])(?:{word})(?![\w-])", re.IGNORECASE)
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name in pages()
        for number, line in enumerate((PROJECT / name).read_text().splitlines(), 1)
        if rule.search(line)
    ]
    assert not found, f"use {REPLACED[word]!r}:\n" + "\n".join(found)


def test_the_rules_find_what_they_look_for() -> None:
    for word, sample in {
        r"strangers?": "a stranger",
        r"declin(es|ed)": "it declines",
        "the books": "the books",
    }.items():
        assert re.search(rf"(?<![\w-])(?:{word})(?![\w-])", sample)
    assert len(pages()) > 200
