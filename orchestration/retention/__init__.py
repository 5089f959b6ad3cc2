"""Deletes what is older, or more, than the limits in configs/retention.yaml."""
