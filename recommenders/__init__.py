"""The recommender library: data, features, models and evaluation. It knows no platform."""

import os

# How threads behave, for every process that computes; libraries read it when they are loaded, so it stands here, before
# any of them. The products of a fit and of a list are small. Shared between threads, each waits for the slowest of
# them, and on a busy machine that is one without a core; OpenBLAS burns the others' cores meanwhile, and OpenMP would.
# A value set by the user stays. Decision 13.
for _name, _value in {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(_name, _value)
