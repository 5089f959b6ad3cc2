"""A benchmark given as files with a split of their own."""
