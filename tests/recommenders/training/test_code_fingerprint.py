"""The fingerprint depends on what the training code does, and on nothing else."""

from pathlib import Path

import pytest

import recommenders
from recommenders.training.code_fingerprint import code_fingerprint, fingerprint_of

CODE = '"""A model."""\nWEIGHT = 1  # of an event\n\n\ndef score(x):\n    """Scores."""\n    return WEIGHT * x\n'


def package(folder: Path, without: str = "", **modules: str) -> str:
    for name, source in modules.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return fingerprint_of(folder, without)


@pytest.mark.parametrize(
    "edited",
    [
        {"models__linear": CODE.replace("WEIGHT * x", "-WEIGHT * x")},
        {"models__linear": CODE.replace("WEIGHT = 1", "WEIGHT = 2")},
        {"models__linear": CODE, "models__new": CODE},
        {"models__renamed": CODE},
    ],
)
def test_other_code_has_another_fingerprint(tmp_path: Path, edited: dict[str, str]) -> None:
    assert package(tmp_path / "a", models__linear=CODE) != package(tmp_path / "b", **edited)


def test_comments_docstrings_and_layout_do_not_count(tmp_path: Path) -> None:
    plain = "WEIGHT = (\n    1\n)\ndef score(x): return WEIGHT * x\n"
    assert package(tmp_path / "b", models__linear=plain) == package(tmp_path / "a", models__linear=CODE)


def test_a_subpackage_counts_unless_it_is_left_out(tmp_path: Path) -> None:
    first, second = {"evaluation__report": "K = 10\n"}, {"evaluation__report": "K = 20\n"}
    assert package(tmp_path / "a", **first) != package(tmp_path / "b", **second)
    assert package(tmp_path / "a", "evaluation", **first) == package(tmp_path / "b", "evaluation", **second)


def test_descriptions_of_configuration_fields_do_not_count_but_defaults_do(tmp_path: Path) -> None:
    field = 'class Config:\n    reg: float = Field(default={}, gt=0, description="{}")\n'
    first = package(tmp_path / "a", models__config=field.format(1.0, "Weight of the penalty."))
    assert package(tmp_path / "b", models__config=field.format(1.0, "Regularisation.")) == first
    assert package(tmp_path / "c", models__config=field.format(2.0, "Weight of the penalty.")) != first


def test_the_fingerprint_is_that_of_the_imported_library_without_its_evaluation() -> None:
    assert code_fingerprint() == fingerprint_of(Path(recommenders.__file__).parent, without="evaluation")
