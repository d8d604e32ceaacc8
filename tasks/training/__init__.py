"""Trains any objective on any number of workers, and continues after any stop.

Start with `fit.py`, which a stage calls; `loop.py` is what a worker does. Of `tasks` it imports
nothing but `context.py`, so that it could be a library of its own.
"""
