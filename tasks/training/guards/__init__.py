"""Watches over a training: stalls, divergence, and whether each planned example was trained on."""
