"""Two kinds of errors that a person ends by correcting what was given, not by running again.

An error is of a kind by its base class, so the command line knows new ones without a list.
"""


class UsageError(Exception):
    """A command, a profile or an override that can't be carried out as it is: exit code 2."""


class DataError(Exception):
    """Data or weights that are missing, unreadable or break a contract: exit code 3."""
