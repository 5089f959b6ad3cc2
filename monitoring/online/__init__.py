"""Online quality: what users did with the lists that were served to them."""
