"""Profiles: those that ship, files of one's own that may extend another, and overrides of both."""

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from data_contracts.errors import UsageError

EXTENDS = "extends"
"""Key of a profile that names the one whose values it changes: a shipped one or a file."""
_REPLACED_WHOLE = frozenset({"data", "weights", "model", "mixture", "origins", "compare"})
"""Groups of alternatives: one that is given replaces that of the extended profile, all others are
merged key by key."""


class ConfigError(UsageError, ValueError):
    """A profile or an override is not a valid configuration."""


def profile_names() -> list[str]:
    """Return the names of the profiles that ship."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in files("flows").joinpath("profiles").iterdir()
        if entry.name.endswith(".yaml")
    )


def read_profile(name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the values of a profile, with those of the ones that it extends, then the overrides.

    Args:
        name: name of a shipped profile, or path of a YAML file.
        overrides: `a.b.c=value` each; a value is YAML, or else text. The last one wins.

    Raises:
        ConfigError: there is no such profile; a file is no YAML, or extends itself; an override
            has no "=", or sets a key of a value.
    """
    values: dict[str, Any] = {}
    for part in reversed([*_with_extended(name)]):
        values = _merged(values, part)
    values["profile"] = Path(name).stem if _is_path(name) else name
    apply_overrides(values, overrides)
    return values


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set `a.b.c=value` each in nested values; a value is YAML, or else text. The last one wins.

    Raises:
        ConfigError: an override has no "=", or sets a key of a value.
    """
    for override in overrides:
        _apply(values, override)


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or "/" in name


def _with_extended(name: str) -> Iterator[dict[str, Any]]:
    """Yield the values of a profile, then those of the one that it extends, and so on."""
    read: list[str] = []
    while name:
        if name in read:
            raise ConfigError(f"profile {name!r} extends itself: {' -> '.join([*read, name])}")
        read.append(name)
        values = _read(name)
        extended = values.pop(EXTENDS, "")
        if not isinstance(extended, str):
            raise ConfigError(f"profile {name!r}: extends is {extended!r}; name one profile")
        # The path of an extended file starts from the folder of the one that names it.
        if extended and _is_path(extended) and _is_path(name):
            extended = str(Path(name).parent / extended)
        yield values
        name = extended


def _read(name: str) -> dict[str, Any]:
    try:
        if _is_path(name):
            text = Path(name).read_text()
        elif name in profile_names():
            text = files("flows").joinpath("profiles", f"{name}.yaml").read_text()
        else:
            raise ConfigError(
                f"there is no profile {name!r}; there are {profile_names()}, and files of your "
                "own, as a path that ends in .yaml"
            )
        values = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"profile {name!r} can't be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"profile {name!r} is no YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"profile {name!r} holds no keys; `q2a config` lists them")
    return values


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge two profiles; the values of `above` win."""
    merged = dict(below)
    for key, value in above.items():
        old = below.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and key not in _REPLACED_WHOLE:
            value = _merged(old, value)
        merged[key] = value
    return merged


def _apply(values: dict[str, Any], override: str) -> None:
    path, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"override {override!r} has no '='; write a.b.c=value")
    *parents, last = path.split(".")
    group = values
    for parent in parents:
        group = group.setdefault(parent, {})
        if not isinstance(group, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, not a group")
    try:
        group[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        if text.lstrip().startswith(("{", "[")):
            problem = " ".join(str(error).split())
            raise ConfigError(
                f"override {override!r} is no YAML: {problem}; quote texts"
            ) from error
        # A cron expression such as "*/5 * * * *" is no YAML.
        group[last] = text
