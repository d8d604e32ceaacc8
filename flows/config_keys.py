"""Every key that a profile can set, read from the schema of the configuration."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from pydantic import BaseModel
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table
from rich.text import Text

Schema = Mapping[str, Any]
_RANGES = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
_COLUMNS = ("key", "type", "default", "meaning")


@dataclass(frozen=True)
class ConfigKey:
    """One key, as it is documented."""

    key: str
    """Names from the outside in, as --set takes them; `[]` stands for each entry of a list."""
    type: str
    """Type in words, with its range or its choices."""
    default: str
    """Default as JSON, or "required"."""
    meaning: str
    """Description, with the unit; a key of one kind of a group begins with this kind."""


@dataclass(frozen=True)
class _Group:
    """A group of the configuration, with what its surroundings say about it."""

    prefix: str = ""
    kind: str = ""
    """Condition under which the group exists, for a group that has several kinds."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Defaults that the field of the group gives, before those of the group's own class."""

    def below(self, name: str, schema: Schema) -> "_Group":
        default = self.defaults.get(name, schema.get("default"))
        defaults = default if isinstance(default, Mapping) else {}
        return replace(self, prefix=f"{self.prefix}{name}.", defaults=defaults)


def environment_keys(settings: type[BaseSettings]) -> Iterator[ConfigKey]:
    """Yield the environment variables that give the settings."""
    for key in config_keys(settings):
        # A field without a variable's name of its own has the common prefix.
        named = key.key.isupper()
        prefix = settings.model_config["env_prefix"]
        yield key if named else replace(key, key=f"{prefix}{key.key.upper()}")


def config_keys(model: type[BaseModel]) -> Iterator[ConfigKey]:
    """Yield all keys of a configuration, in the order in which its classes declare them."""
    schema = model.model_json_schema()
    yield from _Walk(schema.get("$defs", {})).keys(schema, _Group())


class _Walk:
    """Walk over a JSON schema, whose classes are definitions that it refers to."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def keys(self, schema: Schema, group: _Group, without: str = "") -> Iterator[ConfigKey]:
        """Yield the keys of a class, `without` one of them."""
        required = schema.get("required", ())
        for name, value in schema.get("properties", {}).items():
            if name != without:
                yield from self._field(name, value, name in required, group)

    def _field(
        self, name: str, schema: Schema, required: bool, group: _Group
    ) -> Iterator[ConfigKey]:
        own = self._row(name, schema, required, group)
        if "discriminator" in schema:
            yield from self._kinds(own, name, schema, group)
            return
        entries = schema.get("items", {})
        for option in schema.get("anyOf", (schema,)):
            if (part := self._class(option)) is not None:
                if "anyOf" in schema:  # the group as a whole may be left out
                    yield own
                yield from self.keys(part, group.below(name, schema))
                return
        yield own
        if (part := self._class(entries)) is not None:
            yield from self.keys(
                part, replace(group, prefix=f"{group.prefix}{name}[].", defaults={})
            )

    def _kinds(
        self, own: ConfigKey, name: str, schema: Schema, group: _Group
    ) -> Iterator[ConfigKey]:
        """Yield the keys of a group that is of one kind or another, kind by kind."""
        tag, kinds = schema["discriminator"]["propertyName"], schema["discriminator"]["mapping"]
        inner = group.below(name, schema)
        default = inner.defaults.get(tag)
        text = json.dumps(default) if default else own.default
        yield replace(own, key=f"{own.key}.{tag}", type=_choices(kinds), default=text)
        for kind, reference in kinds.items():
            part = self._definitions[_class_name(reference)]
            defaults = inner.defaults if kind == default else {}
            only = replace(inner, kind=f"{tag} {kind}: ", defaults=defaults)
            yield from self.keys(part, only, without=tag)

    def _row(self, name: str, schema: Schema, required: bool, group: _Group) -> ConfigKey:
        default = group.defaults.get(name, schema.get("default"))
        is_open = required and name not in group.defaults
        text = "required" if is_open else json.dumps(default, ensure_ascii=False)
        meaning = schema.get("description") or (self._class(schema) or {}).get("description", "")
        return ConfigKey(
            group.prefix + name, self._type(schema), text, group.kind + " ".join(meaning.split())
        )

    def _class(self, schema: Schema) -> Schema | None:
        """Return the class that a schema refers to, or None."""
        reference = schema.get("$ref")
        return self._definitions[_class_name(reference)] if reference else None

    def _type(self, schema: Schema) -> str:
        if "anyOf" in schema:
            return " or ".join(self._type(option) for option in schema["anyOf"])
        if "enum" in schema:
            return _choices(schema["enum"])
        if "const" in schema:
            return _choices([schema["const"]])
        if "$ref" in schema or "discriminator" in schema:
            return "group"
        kind = schema.get("type", "value")
        if kind == "array":
            return self._list_type(schema)
        if kind == "object":
            keys = self._type(schema.get("propertyNames", {"type": "string"}))
            return f"mapping of {keys} to {self._type(schema.get('additionalProperties', {}))}"
        limits = [f"{words} {schema[name]:g}" for name, words in _RANGES.items() if name in schema]
        return " ".join([kind, " and ".join(limits)]).strip()

    def _list_type(self, schema: Schema) -> str:
        if parts := schema.get("prefixItems"):
            return f"list of {len(parts)}: {', '.join(self._type(part) for part in parts)}"
        return f"list of {self._type(schema.get('items', {}))}"


def print_keys(console: Console, keys: Iterable[ConfigKey]) -> None:
    """Print a row for each key."""
    table = Table(title="Configuration")
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for key in keys:
        table.add_row(*(Text(cell) for cell in _cells(key)))
    console.print(table)


def keys_as_markdown(keys: Iterable[ConfigKey], environment: Iterable[ConfigKey]) -> str:
    """Return the page of the documentation: a table for each key of the top level."""
    lines = [
        "# Configuration",
        "",
        "A profile sets these keys, and `--set KEY=VALUE` overrides one of them. This page is "
        "printed by `q2a config --markdown`; don't edit it by hand.",
    ]
    for section, rows in groupby(keys, lambda key: key.key.partition(".")[0].partition("[")[0]):
        lines += _section(section, rows)
    lines += _section("Environment variables", environment)
    return "\n".join(lines)


def _section(title: str, keys: Iterable[ConfigKey]) -> list[str]:
    rows = [
        (f"`{key}`", kind, f"`{default}`", meaning)
        for key, kind, default, meaning in map(_cells, keys)
    ]
    return ["", f"## {title}", "", *map(_table_row, (_COLUMNS, ["---"] * len(_COLUMNS), *rows))]


def _cells(key: ConfigKey) -> tuple[str, str, str, str]:
    return key.key, key.type, key.default, key.meaning


def _table_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _choices(values: Iterable[Any]) -> str:
    return "one of " + ", ".join(map(str, values))


def _class_name(reference: str) -> str:
    return reference.rpartition("/")[2]
