"""What accuracy.py compares: the lists of all models, the rows made of them, and the figures on the pages."""
