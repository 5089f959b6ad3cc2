"""The drill: the whole platform on a simulated market, day by day, under a clock of its own (docs/drill.md)."""
