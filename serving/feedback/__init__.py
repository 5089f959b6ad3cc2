"""What users do with the lists: events are stored exactly once, and change the user's next list."""
