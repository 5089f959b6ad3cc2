"""Files: table schemas, model bundles and their contexts, atomic writes."""
