"""The web pages of the service and the document of its API."""
