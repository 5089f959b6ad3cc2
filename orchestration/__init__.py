"""Ties all together: assets, checks, schedules, sensors and the `tradewind` command."""

import os

# Nobody phones home unless the user says so, and threads that wait for work sleep instead of spinning, which on a busy
# machine halves the time of training: the one effect an import is allowed.
for _name, _value in {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
}.items():
    os.environ.setdefault(_name, _value)
