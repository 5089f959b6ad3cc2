"""Batch lists: the lists of many users as a file, equal to the answers of the service."""
