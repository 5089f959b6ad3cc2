"""Networks, trained in PyTorch and answered in numpy; nothing here imports torch before a fit."""
