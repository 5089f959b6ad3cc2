"""Which code trains: a fingerprint of the library's sources, a part of every recipe."""

import ast
import hashlib
from functools import cache
from pathlib import Path

import recommenders

JUDGES = "evaluation"  # the package that judges models and trains none: lists are judged by the code of the day


@cache
def code_fingerprint() -> str:
    """A short hash of the code that trains, taken once a process. Comments, docstrings and layout do not count."""
    return fingerprint_of(Path(recommenders.__file__).parent)


def fingerprint_of(root: Path) -> str:
    """The hash of all modules below a package's folder but those of its package `evaluation`."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] != JUDGES:
            digest.update(f"{name.as_posix()}\n{_code_of(path.read_text('utf-8'))}\n".encode())
    return digest.hexdigest()[:16]


def _code_of(source: str) -> str:
    """What a module does, whatever it looks like."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            described = ast.get_docstring(node, clean=False) is not None
            node.body = node.body[described:]
    return ast.dump(tree)
