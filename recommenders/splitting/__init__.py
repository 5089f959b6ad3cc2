"""Hold-outs: what is known, and what is asked."""
