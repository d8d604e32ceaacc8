"""Trains any objective on any number of workers, and continues after any stop.

Start with `fit.py`, which a stage calls; `loop.py` is what a worker does. Nothing here knows audio
or the other rooms of `tasks`, so that the room could be a library of its own.
"""
