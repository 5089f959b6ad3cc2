"""Figures of the machine and of the platform, for Prometheus: processors, memory, GPUs, disk, freshness."""
