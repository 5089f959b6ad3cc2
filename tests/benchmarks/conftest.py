"""Makes the benchmarks' modules importable by the names that their scripts use."""

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
for folder in (BENCHMARKS, BENCHMARKS / "peers"):  # a peer's runner imports modules from its own folder
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
