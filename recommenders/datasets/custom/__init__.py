"""Custom data sets from one YAML entry each: entry validates it, pull copies remote data, rows reads the tables."""
