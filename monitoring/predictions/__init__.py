"""Prediction drift: whether the lists that the service gives changed, although the same version makes them."""
