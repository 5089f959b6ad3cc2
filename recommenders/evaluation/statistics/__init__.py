"""Intervals, paired comparisons and the figures that reports show."""
