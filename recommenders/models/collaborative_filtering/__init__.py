"""User or item neighbours: the model, and the index that finds the neighbours."""
