"""Where rows of recordings come from: manifests, folders and public corpora.

Start with `manifest.py`; `catalogue.py` finds the corpora.
"""
