"""Matrix factorisation for implicit feedback (Hu et al. 2008): the model and its solver."""
