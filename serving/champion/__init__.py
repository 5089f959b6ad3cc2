"""The champion in memory, and the pointer file that names it."""
