"""How many threads a product takes, and how they wait: settings that libraries read once, when they are loaded."""

import json
import os
import subprocess
import sys

import pytest

ASKS = """
import json, os, {package}, numpy, scipy.linalg
from threadpoolctl import threadpool_info
blas = sorted({{pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}})
print(json.dumps([blas, os.environ["OMP_WAIT_POLICY"]]))
"""


@pytest.mark.parametrize(
    ("package", "own", "expected"),
    [
        ("recommenders", {}, [[1], "PASSIVE"]),
        ("orchestration", {}, [[1], "PASSIVE"]),
        ("recommenders", {"OPENBLAS_NUM_THREADS": "2", "OMP_WAIT_POLICY": "ACTIVE"}, [[2], "ACTIVE"]),
    ],
)
def test_products_take_one_thread_unless_the_user_says_otherwise(
    package: str, own: dict[str, str], expected: list[object]
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    clean.pop("OMP_WAIT_POLICY", None)
    done = subprocess.run(
        [sys.executable, "-c", ASKS.format(package=package)],
        env=clean | own,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found[1] == expected[1]
    assert found[0] == expected[0] or (own and (os.cpu_count() or 1) < 2)
