"""Code that several benchmarks share: result tables, kept results, benchmark tasks, synthetic logs."""
