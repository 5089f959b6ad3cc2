"""The thread settings that numerical libraries read once, when they are loaded: number of threads and wait policy."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, {package}, numpy, scipy.linalg
from threadpoolctl import threadpool_info
blas = sorted({{pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}})
print(json.dumps([blas, os.environ["OMP_WAIT_POLICY"]]))
"""


@pytest.mark.parametrize(
    ("package", "user_settings", "expected"),
    [
        ("recommenders", {}, [[1], "PASSIVE"]),
        ("orchestration", {}, [[1], "PASSIVE"]),
        ("recommenders", {"OPENBLAS_NUM_THREADS": "2", "OMP_WAIT_POLICY": "ACTIVE"}, [[2], "ACTIVE"]),
    ],
)
def test_matrix_products_use_one_thread_unless_the_user_sets_another_number(
    package: str, user_settings: dict[str, str], expected: list[object]
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    clean.pop("OMP_WAIT_POLICY", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(package=package)],
        env=clean | user_settings,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found[1] == expected[1]
    assert found[0] == expected[0] or (user_settings and (os.cpu_count() or 1) < 2)
