"""Everything about one recording: its location, bytes, samples, levels, truncation and segments.

`read.py` fetches its bytes; `decode.py` turns them into samples.
"""
