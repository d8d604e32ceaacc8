"""Table of the forms of rows that a manifest may have besides its own, in order of their keys."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.sources.forms import chat_parts, flat, llama_factory, ms_swift, nemo, pairs
from tasks.sources.forms.nemo import Labels
from tasks.sources.forms.talk import Row, Talk

OWN = "q2a"
"""Name of the form of `data_contracts.records.Clip`, which is no foreign one."""
_OWN_KEYS = frozenset({"targets", "task", "segments"})


@dataclass(frozen=True)
class Form:
    """A form of rows, which their keys tell."""

    name: str
    """Name that `q2a data look` shows."""
    matches: Callable[[Row], bool]
    read: Callable[[Row], Talk | Labels]


def _unless_own(matches: Callable[[Row], bool]) -> Callable[[Row], bool]:
    """Leave rows with keys of the own form to the message about what is wrong with them."""
    return lambda row: not (_OWN_KEYS & row.keys()) and matches(row)


FORMS = (
    Form("openai", chat_parts.is_openai, ms_swift.read_messages),
    Form("hf-chat", chat_parts.is_in_parts, ms_swift.read_messages),
    Form("openai-preference", chat_parts.is_preference, chat_parts.read_preference),
    Form("ms-swift", ms_swift.has_messages, ms_swift.read_messages),
    Form("llama-factory-v1", llama_factory.is_v1, llama_factory.read_v1),
    Form("nemo-conversation", nemo.is_conversation, nemo.read_conversation),
    Form("llama-factory", llama_factory.is_sharegpt, llama_factory.read_sharegpt),
    Form("nemo", nemo.is_speech, nemo.read_speech),
    Form("alpaca-pair", llama_factory.is_alpaca_pair, llama_factory.read_alpaca_pair),
    Form("pair", _unless_own(pairs.is_pair), pairs.read_pair),
    Form("ms-swift-conversation", ms_swift.has_exchanges, ms_swift.read_exchanges),
    Form("ms-swift-query", _unless_own(ms_swift.has_query), ms_swift.read_query),
)
"""The first that matches counts."""
TABLE_FORM = Form("table", flat.is_flat, flat.read_flat)
"""Rows of tables, and of manifests whose columns are renamed: one recording and its labels."""


def find_form(row: Row, extra: Iterable[Form] = ()) -> Form | None:
    """Return the form of a row; None where no keys are known."""
    return next((form for form in (*FORMS, *extra) if form.matches(row)), None)


def renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """Give columns the names that `data.columns` maps them to; `targets.NAME` are gathered.

    A column that one of the new names would hide is left out.
    """
    taken = set(columns.values())
    values = {name: value for name, value in row.items() if name not in taken | columns.keys()}
    for name, column in columns.items():
        value = row.get(column)
        if value is None:
            continue
        if name.startswith("targets."):
            targets = values.setdefault("targets", {})
            targets[name.removeprefix("targets.")] = value
        else:
            values[name] = value
    return values
