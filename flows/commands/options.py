"""Options that several commands share."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flows.config import PipelineConfig

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
_Profile = Annotated[str, typer.Option("--profile", "-p", help="file in flows/profiles")]
_Overrides = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="override, a.b.c=value; repeatable")
]


@dataclass(frozen=True)
class Configuration:
    """A profile and the overrides of its values, as the command line gives them."""

    profile: str
    overrides: tuple[str, ...]

    def load(self, defaults: Sequence[str] = ()) -> "PipelineConfig":
        """Read and validate the configuration of all stages.

        Args:
            defaults: overrides that the command line's own ones overrule.

        Raises:
            ConfigError: unknown profile or key, or a value that breaks a field's rule.
        """
        from flows.config import load_config
        from flows.pipeline import config_type

        return load_config(self.profile, (*defaults, *self.overrides), config_type())


def configured(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options --profile and --set; its first parameter is what they say."""

    def with_options(profile: str, overrides: list[str] | None, **others: Any) -> None:
        command(Configuration(profile, tuple(overrides or ())), **others)

    _, *own = inspect.signature(command).parameters.values()
    options = {"profile": (_Profile, "demo"), "overrides": (_Overrides, None)}
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in options.items()
    ]
    update_wrapper(with_options, command)
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + shared
    # Typer reads a command's options from its signature.
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options
