"""Dagster assets, checks, schedules and sensors, and the `tradewind` command."""

import os

import recommenders  # noqa: F401  (sets the thread settings before any library with threads is loaded)

# Telemetry is off unless the user switches it on. No other side effect of an import is allowed.
for _name, _value in {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}.items():
    os.environ.setdefault(_name, _value)
