"""The platform's definitions for Dagster's code server, which evaluates the sensors, with the points of points.py.

A killed sender's lease, and the time that a run may take to begin, are shorter than in the platform, so that a
benchmark does not wait for them.
"""

from datetime import timedelta
from functools import partial

from measuring.daemon.points import POINTS, kill_after, kill_if_armed
from monitoring.alerts import dispatcher
from orchestration import run_process
from orchestration.definitions import defs

__all__ = ["defs"]

dispatcher.LEASE = timedelta(seconds=2)
run_process.STARTING = timedelta(seconds=60)
for point, (owner, name) in POINTS.items():
    kill_after(owner, name, partial(kill_if_armed, point))
