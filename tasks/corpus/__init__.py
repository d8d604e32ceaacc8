"""The packed corpus: composes, packs and shards clips, and reads them again.

`artifact.py` names the files that ingest leaves; `reader.py` gives a clip by its id.
"""
