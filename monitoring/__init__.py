"""Watches: drift, quality, alerts."""

import os

# Nobody phones home unless the user says so: the one effect an import is allowed.
os.environ.setdefault("DO_NOT_TRACK", "true")
