"""The recommender library: data, features, models and evaluation. It does not import the platform."""

import os

# Thread settings for every process that computes. The libraries read them when they are loaded, so they are set here,
# before any of them is imported. The matrix products of a fit and of a ranking are small. If threads share one, all
# wait for the slowest thread. On a busy machine that thread has no core, and OpenBLAS keeps the cores of the others
# busy while they wait; so would OpenMP. A value set by the user is kept. Decision 13.
for _name, _value in {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(_name, _value)
