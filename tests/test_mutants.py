"""The mutants that `make mutants` makes, and its modules and tests."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = '''
@dataclass(frozen=True)
class Rule:
    least: "int | None" = 2

    def holds(self, n: int | None) -> bool | None:
        """3 < 4"""
        return n < self.least and all(a for a, _ in zip(n, n, strict=True))
'''


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    """scripts/mutants.py as a module."""
    spec = importlib.util.spec_from_file_location("mutants", PROJECT / "scripts" / "mutants.py")
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT / "scripts")
        spec.loader.exec_module(module)
        yield module


def test_code_is_changed_and_annotations_and_docstrings_are_not(tool: ModuleType) -> None:
    changes = {mutant.change for mutant in tool.mutants(SOURCE)}
    before = "return n < self.least and all(a for a, _ in zip(n, n, strict=True))"
    assert {change for change in changes if change.startswith("return")} == {
        f"{before}  ->  {before.replace('<', '<=')}",
        f"{before}  ->  {before.replace('<', '>=')}",
        f"{before}  ->  {before.replace('and', 'or')}",
    }
    assert {change.partition("  ->  ")[2] for change in changes if change.startswith("least")} == {
        'least: "int | None" = 1',
        'least: "int | None" = 3',
    }
    assert len(changes) == 5


def test_equal_lines_have_different_changes(tool: ModuleType) -> None:
    changes = [mutant.change for mutant in tool.mutants("a = 1\nb = 0\na = 1\n")]
    assert len(changes) == len(set(changes)) == 6


def test_modules_and_their_tests_exist_and_the_counts_are_consistent(tool: ModuleType) -> None:
    for module, tests in tool.TARGETS.items():
        assert all((PROJECT / name).is_file() for name in (module, *tests)), module
    for module, row in json.loads(tool.RESULTS.read_text()).items():
        assert module in tool.TARGETS
        assert row["mutants"] == row["killed"] + len(row["survivors"])
