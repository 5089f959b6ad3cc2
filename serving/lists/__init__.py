"""Recommendation lists: of one request, or of all known users at once."""
