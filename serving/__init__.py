"""Serves recommendations: registry, predictor, service, batch lists."""

import os

# Switches vendor telemetry off unless the environment sets it. No other import has a side effect.
for _name, _value in {
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # only reduces noise in logs
}.items():
    os.environ.setdefault(_name, _value)
