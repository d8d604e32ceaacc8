"""Files wherever they are: folders and S3, retries, digests, tar archives.

Start with `store.py`.
"""
