"""Which examples there are, how often each is drawn, and what becomes of damaged clips.

`mixture.py` holds the recipe, `examples.py` the examples.
"""
