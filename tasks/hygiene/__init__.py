"""Hygiene of a packed corpus: duplicates, leaks between splits, wrong labels, odd levels.

Start with `inspect.py`.
"""
