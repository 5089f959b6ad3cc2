"""One file a source: its layout, read into our tables."""
