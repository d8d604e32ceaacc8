"""Counts what the network costs: operations, memory, activations and decoding, without a run."""
