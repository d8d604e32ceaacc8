"""Holds one file a public corpus or layout, each with its `CORPUS`; `catalogue.py` finds them."""
