"""Contracts of what passes between stages: typed records, tables and their checks."""
