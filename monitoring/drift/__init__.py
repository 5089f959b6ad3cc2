"""Compares reference and current events: distances, drift verdicts, and broken feeds (Evidently is used here)."""
