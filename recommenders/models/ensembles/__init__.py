"""Models made of other models: a weighted sum, and a ranker over the candidates of all."""
