"""Evaluation: from a checkpoint and suites to numbers that can be trusted, and their report.

`answerer.py` answers, `metrics/` scores, `statistics.py` says how sure a score is, `report*.py`
show it.
"""
