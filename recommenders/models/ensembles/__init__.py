"""Ensembles of base models: a weighted sum of scores, and a learned ranker over the candidates of all base models."""
