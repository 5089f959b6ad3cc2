"""NeuMF (He et al. 2017)."""
