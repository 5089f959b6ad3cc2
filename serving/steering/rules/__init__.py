"""The rules of the shop: what may be in a list, what comes first, and how many items of a kind a list has.

files.py reads them, expressions.py evaluates their conditions, bound.py brings them into the order of a model's items,
steering.py makes a list by them.
"""
