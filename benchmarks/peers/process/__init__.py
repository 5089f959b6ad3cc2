"""What the process of a peer imports from us, by short names: this folder is on its PYTHONPATH."""
