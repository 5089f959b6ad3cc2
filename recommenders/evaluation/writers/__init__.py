"""Reports for people: Markdown and plots."""
