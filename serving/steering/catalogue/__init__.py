"""The served catalogue: the attributes of items and users in memory, for the fields and filters of a request.

It is written from the clean tables whenever these are read, without a training, and read without pyarrow.
"""
