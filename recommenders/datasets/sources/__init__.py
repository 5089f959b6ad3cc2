"""Parsers of the data sets, one module per source: each reads the publisher's layout into the project's tables."""
