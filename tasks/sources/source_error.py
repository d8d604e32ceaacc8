"""Error of a source that a person has to correct."""

from data_contracts.errors import DataError


class DataSourceError(DataError, ValueError):
    """The manifest or folder can't be used as it is."""
