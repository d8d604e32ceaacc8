"""One file per public corpus or layout, each with its `CORPUS`; `catalogue.py` finds them."""
