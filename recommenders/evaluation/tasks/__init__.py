"""Evaluation tasks: which users, which histories, which candidate items."""
