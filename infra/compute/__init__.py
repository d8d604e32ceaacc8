"""Compute: where work runs, in this process or on Ray, and what it may use.

Start with `interface.py`: what a stage asks of compute, whatever provides it.
"""
