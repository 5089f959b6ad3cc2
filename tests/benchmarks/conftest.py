"""Makes the modules of the peers importable by the names that their scripts use."""

import sys
from pathlib import Path

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"  # a peer's runner imports modules from its own folder
if str(PEERS) not in sys.path:
    sys.path.append(str(PEERS))
