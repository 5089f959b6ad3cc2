"""The user's own tables by one YAML entry: entry says what it may hold, pull brings remote data, rows reads it."""
