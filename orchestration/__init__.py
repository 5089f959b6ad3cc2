"""Ties all together: assets, checks, schedules, sensors and the `tradewind` command."""

import os

import recommenders  # noqa: F401  (sets how threads behave, before any library that has threads is loaded)

# Nobody phones home unless the user says so: the one effect an import is allowed.
for _name, _value in {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}.items():
    os.environ.setdefault(_name, _value)
