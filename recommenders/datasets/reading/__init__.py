"""Files become clean tables: text makes a file safe, lines gives its rows, reading judges, ingest writes."""
