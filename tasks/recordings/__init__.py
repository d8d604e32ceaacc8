"""One recording: its location, bytes, samples, levels, truncation and parts.

`decode.py` makes samples of bytes; `read.py` fetches the bytes.
"""
