"""Strategies: how parameters, gradients and optimizer states are spread over workers.

`strategy.py` is the interface, `choice.py` makes one by its name.
"""
