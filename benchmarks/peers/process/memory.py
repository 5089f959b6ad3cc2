"""The most memory a process held. The standard library alone: this runs under every Python that is measured."""

import resource
import sys
from pathlib import Path


def peak_mb() -> float:
    """The most memory this process held so far, in MB of 2^20 bytes.

    Where Linux tells it, that of the program: getrusage's figure begins with what the parent held when it started us.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
