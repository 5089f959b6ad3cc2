"""Data that no shop has: logs of a given size, the truth of the simulated market, and a market without drift."""
