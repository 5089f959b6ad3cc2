"""What GET /metrics shows: what the service counts, what it serves, and what its processes use."""
