"""Monitoring: drift, data quality, alerts, and retraining decisions."""

import os

# Evidently sends no usage statistics unless the user allows it; the only side effect of an import.
os.environ.setdefault("DO_NOT_TRACK", "true")
