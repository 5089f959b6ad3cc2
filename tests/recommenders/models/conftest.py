"""Every model of the catalogue, fitted once on the checkerboard."""

import importlib.util
import sys
from pathlib import Path

import pytest

# With --import-mode=importlib a test folder is no package, so the toy worlds are loaded by their path, once.
if "tradewind_toy_worlds" not in sys.modules:
    _spec = importlib.util.spec_from_file_location("tradewind_toy_worlds", Path(__file__).with_name("worlds.py"))
    assert _spec
    assert _spec.loader
    sys.modules["tradewind_toy_worlds"] = _worlds = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_worlds)
