"""Hygiene of a packed corpus: duplicates, leaks between splits, labels and levels that don't fit.

Start with `inspect.py`.
"""
