"""The rules of the shop: what may be in a list, what comes first, and how many items of a kind a list has.

files.py reads them, expressions.py compiles their conditions, bound.py evaluates these for a model's items, steering.py
states what they ask of one list, choice.py chooses its items from what the model ranks.
"""
