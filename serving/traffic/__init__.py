"""The requests as traffic: what is counted, who may send them, how many, and in which order they are served."""
