"""What lists are steered with.

catalogue: the attributes of items, for the fields and filters of a request. rules: those of the shop, for all requests.
"""
