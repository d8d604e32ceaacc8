"""Training examples: which there are, how often each is drawn, what becomes of damaged clips.

`mixture.py` holds the recipe, `examples.py` the examples.
"""
