"""Rendering of a template to one HTML file that needs nothing else: no network, no scripts."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: str, **values: object) -> str:
    """Fill in a template of this folder; the same values give the same bytes.

    Every value is escaped, unless it is `markupsafe.Markup`: what comes from data (answers of a
    model above all) stays text. `base.html` needs a `title`.

    Raises:
        jinja2.UndefinedError: where the template names a value that is missing.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["thousands"] = "{:,}".format
    environment.filters["px"] = "{:.1f}".format
    return environment
