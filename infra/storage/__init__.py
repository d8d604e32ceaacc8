"""Storage: files in folders and on S3, with retries, digests and tar archives.

Start with `store.py`.
"""
