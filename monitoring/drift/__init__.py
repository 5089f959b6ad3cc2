"""Reference against current: what shifted, and whether that is drift (Evidently is used here)."""
