"""HTTP: bodies and their validation, problems, pages, and the document of the API."""
