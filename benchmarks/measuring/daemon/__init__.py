"""What kills Dagster's daemon at named points: the daemon, its code server, and causes for it to act on."""
