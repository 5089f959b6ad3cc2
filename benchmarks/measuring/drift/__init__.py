"""The logs, the windows and the trials of benchmarks/drift.py."""
