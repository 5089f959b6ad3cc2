"""Benchmarks that come as files with their own split."""
