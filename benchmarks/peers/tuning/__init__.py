"""How the peers are tuned: what may be tried, the search, every trial, and the settings that were found."""
