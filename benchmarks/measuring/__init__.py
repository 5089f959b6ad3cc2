"""What several benchmarks share: tables, finished rows, the questions, made-up logs."""
