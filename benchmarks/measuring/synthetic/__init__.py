"""Data that no shop has: logs of a given size, files in publishers' layouts, and markets whose truth is known."""
