"""Code that several benchmarks share: result tables, the cache on disk, benchmark tasks, synthetic logs."""
