"""Finds a broken feed: compares shares of events, gaps and units of the newest events with those of past windows."""
