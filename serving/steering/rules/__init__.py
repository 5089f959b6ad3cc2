"""The rules of the shop: what may be in a list, what comes first, and how many items of a kind a list has.

rule_types.py has their types, files.py reads them, expressions.py compiles their conditions, rules_of_model.py
evaluates these for a model's items, active_rules.py states what they ask of one list, item_choice.py chooses its items
from what the model ranks (model_ranking.py).
"""
