"""What is asked of models: of whom, from which history, among which items."""
