"""Rows of other tools as rows of a manifest: a file for each form, all of them in `table.py`."""
