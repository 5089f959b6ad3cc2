"""The fingerprint of the library's training code; it is a part of every recipe."""

import ast
import hashlib
from functools import cache
from pathlib import Path

import recommenders

EVALUATION = "evaluation"  # the package that evaluates models and fits none; it is not a part of the fingerprint


@cache
def code_fingerprint() -> str:
    """A short hash of the training code, computed once per process. Comments, docstrings and layout do not count."""
    return fingerprint_of(Path(recommenders.__file__).parent, without=EVALUATION)


def fingerprint_of(root: Path, without: str = "") -> str:
    """The hash of all modules below the folder of a package, except those of the subpackage `without`."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] != without:
            digest.update(f"{name.as_posix()}\n{_code_of(path.read_text('utf-8'))}\n".encode())
    return digest.hexdigest()[:16]


def _code_of(source: str) -> str:
    """The syntax tree of a module as text, without docstrings and without the descriptions of configuration fields."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            has_docstring = ast.get_docstring(node, clean=False) is not None
            node.body = node.body[has_docstring:]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Field":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
    return ast.dump(tree)
