"""Makes the modules that every peer's process imports importable by the names that its scripts use."""

import sys
from pathlib import Path

PROCESS = Path(__file__).parents[2] / "benchmarks" / "peers" / "process"  # on the PYTHONPATH of a peer's process
if str(PROCESS) not in sys.path:
    sys.path.append(str(PROCESS))
