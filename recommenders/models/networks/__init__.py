"""Neural networks: trained in PyTorch, scored in numpy. No module here imports torch before a fit."""
