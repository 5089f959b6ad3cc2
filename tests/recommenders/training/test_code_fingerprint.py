"""The fingerprint of the code that trains follows what the code does, and nothing else."""

from pathlib import Path

import pytest

import recommenders
from recommenders.training.code_fingerprint import code_fingerprint, fingerprint_of

CODE = '"""A model."""\nWEIGHT = 1  # of an event\n\n\ndef score(x):\n    """Scores."""\n    return WEIGHT * x\n'


def package(folder: Path, **modules: str) -> str:
    for name, source in modules.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return fingerprint_of(folder)


@pytest.mark.parametrize(
    "edited",
    [
        {"models__linear": CODE.replace("WEIGHT * x", "-WEIGHT * x")},
        {"models__linear": CODE.replace("WEIGHT = 1", "WEIGHT = 2")},
        {"models__linear": CODE, "models__new": CODE},
        {"models__renamed": CODE},
    ],
)
def test_code_that_does_something_else_has_another_fingerprint(tmp_path: Path, edited: dict[str, str]) -> None:
    assert package(tmp_path / "a", models__linear=CODE) != package(tmp_path / "b", **edited)


def test_comments_docstrings_layout_and_the_package_that_judges_do_not_count(tmp_path: Path) -> None:
    plain = "WEIGHT = (\n    1\n)\ndef score(x): return WEIGHT * x\n"
    first = package(tmp_path / "a", models__linear=CODE, evaluation__report="K = 10\n")
    assert package(tmp_path / "b", models__linear=plain, evaluation__report="K = 20\n") == first


def test_the_fingerprint_is_that_of_the_library_that_is_imported() -> None:
    assert code_fingerprint() == fingerprint_of(Path(recommenders.__file__).parent)
