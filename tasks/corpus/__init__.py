"""The packed corpus: composing, packing and sharding clips, and reading them again.

`artifact.py` names the files that ingest leaves; `reader.py` gives a clip by its id.
"""
