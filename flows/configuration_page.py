"""Write `docs/configuration.md`: every key of a profile, out of the schema that checks profiles.

python -m flows.configuration_page > docs/configuration.md
"""

import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from data_contracts.recipe import Recipe
from flows.config import PipelineConfig, profile_names

_HEAD = """# Configuration

Every key that a profile (`flows/profiles/*.yaml`) or `--set KEY=VALUE` can give, with its type, its
default and its meaning. This page is generated from the schema; do not edit it:

```bash
python -m flows.configuration_page > docs/configuration.md
```

A key is the path through the groups, such as `pretrain.optimizer.steps`. A value is YAML:
`--set 'sft.mixture={voice_chat: 3, digits: 1}'` replaces a whole group. An unknown key, or a value
out of its range, ends the command with exit code 2 and names the key, the value and the rule.
Everything below `ingest`, `pretrain`, `sft`, `collect_preferences`, `dpo` and `evaluate` is part of
the fingerprint of its stage; `resources`, `example` and `schedule` are not.
"""
_OPERATORS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥"}
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def page() -> str:
    """Return the whole page as Markdown."""
    used: dict[type[BaseModel], list[str]] = {}
    for path, model in _groups(PipelineConfig, ""):
        used.setdefault(model, []).append(path)
    profiles = ", ".join(f"`{name}`" for name in profile_names())
    parts = [_HEAD, f"Profiles: {profiles}.\n"]
    parts += [_section(model, paths) for model, paths in used.items()]
    return "\n".join(parts)


def _groups(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield a model and all models below it, each with the key under which it stands."""
    yield path, model
    for name, field in model.model_fields.items():
        for below in _models(field.annotation):
            yield from _groups(below, f"{path}.{name}".removeprefix("."))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation names, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _section(model: type[BaseModel], paths: list[str]) -> str:
    """Return heading, places and table of one group."""
    title = "The groups of a profile" if model is PipelineConfig else model.__name__
    lines = [f"## {title}", "", _first_paragraph(model)]
    if model is not PipelineConfig:
        places = ", ".join(f"`{path}`" for path in dict.fromkeys(paths))
        lines += ["", f"Stands at {places}."]
    if model.model_fields:
        lines += ["", "| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [_row(name, field) for name, field in model.model_fields.items()]
    return "\n".join(lines) + "\n"


def _first_paragraph(model: type[BaseModel]) -> str:
    doc = (model.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(doc.split())


def _row(name: str, field: FieldInfo) -> str:
    bounds = [
        f"{sign} {getattr(rule, word):g}"
        for rule in field.metadata
        for word, sign in _OPERATORS.items()
        if isinstance(getattr(rule, word, None), int | float)
    ]
    kind = ", ".join([_type(field.annotation), *bounds])
    meaning = " ".join((field.description or "").split())
    cells = (f"`{name}`", kind, _default(field), meaning)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _type(annotation: Any) -> str:
    """Return a type as people read it: links to groups, choices one by one."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in parts)
    if origin in (Union, types.UnionType):
        return " or ".join("empty" if part is type(None) else _type(part) for part in parts)
    if origin is dict:
        return f"map of {_type(parts[0])} to {_type(parts[1])}"
    if origin in (tuple, list):
        shown = [_type(part) for part in parts if part is not Ellipsis]
        return f"list of {shown[0]}" if Ellipsis in parts else f"[{', '.join(shown)}]"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return _NAMES[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, Recipe):
        kind = getattr(default, "kind", None)
        return f"kind `{kind}`" if kind else "its defaults"
    return "empty" if default in (None, "", (), {}) else f"`{json.dumps(default)}`"


if __name__ == "__main__":
    print(page(), end="")
