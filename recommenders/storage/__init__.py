"""Files: table schemas, model bundles, atomic writes."""
