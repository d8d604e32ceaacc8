"""LLaMA-Factory's `dataset_info.json`: names of sets and the columns of their files."""

import json
from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from data_contracts.jsonl import explain
from infra.storage.source_files import open_url
from tasks.sources.forms.llama_factory import DataSet
from tasks.sources.source_error import DataSourceError

INFO = "dataset_info.json"
"""Name of the file; one of the same name that `datasets` wrote has `features` and no sets."""
_SETS: TypeAdapter[dict[str, DataSet]] = TypeAdapter(dict[str, DataSet])
_MAX_BYTES = 1 << 24
_SOURCES = frozenset({"file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url"})
"""Keys of which a set has one."""


def named_sets(url: str) -> Mapping[str, DataSet]:
    """Read the sets of a file that is named `dataset_info.json`; none of any other.

    Raises:
        DataSourceError: a set breaks a rule of the form.
    """
    return _read(url) if url.rpartition("/")[2] == INFO else {}


def described(url: str) -> DataSet | None:
    """Return what a `dataset_info.json` beside a file says of it; None where it says nothing.

    Raises:
        DataSourceError: a set breaks a rule of the form.
    """
    folder, _, name = url.rpartition("/")
    sets = _read(f"{folder}/{INFO}")
    return next((entry for entry in sets.values() if entry.file_name == name), None)


def _read(url: str) -> dict[str, DataSet]:
    """Read the sets of a file; none where it can't be opened."""
    try:
        with open_url(url) as stream:
            text = stream.read(_MAX_BYTES + 1)
    except (OSError, ImportError):
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataSourceError(f"{url!r} is no JSON: {error}. Correct or remove it.") from error
    entries = document.items() if isinstance(document, dict) else ()
    sets = {n: s for n, s in entries if isinstance(s, dict) and _SOURCES & s.keys()}
    try:
        return _SETS.validate_python(sets)
    except ValidationError as error:
        raise DataSourceError(
            f"{url!r} describes no data set of LLaMA-Factory: {explain(error)}. Correct it."
        ) from error
