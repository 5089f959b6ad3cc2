"""Answers requests: registry, predictor, service, batch lists."""

import os

# Nobody phones home unless the user says so: the one effect an import is allowed.
for _name, _value in {
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # noise in logs, not a call home
}.items():
    os.environ.setdefault(_name, _value)
