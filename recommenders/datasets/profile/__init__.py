"""Profiles a data set before any model is fitted: figures, and a page that shows them."""
