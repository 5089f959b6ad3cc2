"""The endpoints of the HTTP service, one file each or a file for those that belong together."""
