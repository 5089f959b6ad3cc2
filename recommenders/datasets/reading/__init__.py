"""Files to clean tables: text checks and normalises files, lines reads rows, reading applies rules, ingest writes."""
