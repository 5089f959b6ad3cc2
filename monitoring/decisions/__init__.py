"""Decisions of the loop: pure functions from what monitoring found to what is done, each with its reason."""
