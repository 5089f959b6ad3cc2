"""The sensors: new data and drift start a retraining, ended runs raise or end alerts, and alerts are sent."""

import dagster as dg

from orchestration.sensors.alerts import alerts_sensor, failed_runs_sensor, lost_runs_sensor, succeeded_runs_sensor
from orchestration.sensors.monitoring import monitoring_sensor, rollback_sensor
from orchestration.sensors.new_data import new_data_sensor
from orchestration.settings import Settings


def sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors of the served data set; they run when the daemon runs."""
    return [
        new_data_sensor(settings),
        monitoring_sensor(settings),
        rollback_sensor(settings),
        failed_runs_sensor(settings),
        succeeded_runs_sensor(settings),
        lost_runs_sensor(settings),
        alerts_sensor(settings),
    ]
