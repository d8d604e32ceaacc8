"""Counts what the network costs: operations, memory, activations and decoding, by arithmetic."""
