"""Options that several commands share."""

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Annotated, Any

import typer

from flows.run_request import RunRequest

Json = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="override, a.b.c=value; repeatable")
]
_Profile = Annotated[
    str, typer.Option("--profile", "-p", help="a shipped profile, or the path of a file")
]
_Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        "-d",
        help="own recordings: a manifest, a folder, or CORPUS=ROOT, CORPUS:SPLIT,SPLIT=ROOT; "
        "repeatable",
    ),
]
_Start = Annotated[
    str | None,
    typer.Option("--from", help="finished checkpoint that the run starts from: folder or URL"),
]
_Stages = Annotated[
    str | None, typer.Option("--stages", help="stages that run, as a,b,c; others are left out")
]


def configured(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a configuration; its first parameter is what they ask for."""

    def with_options(
        profile: str,
        data: list[str] | None,
        start: str | None,
        stages: str | None,
        overrides: list[str] | None,
        **others: Any,
    ) -> None:
        request = RunRequest(
            profile=profile,
            data=tuple(data or ()),
            start=start,
            stages=tuple(name.strip() for name in stages.split(",")) if stages else (),
            overrides=tuple(overrides or ()),
        )
        command(request, **others)

    _, *own = inspect.signature(command).parameters.values()
    options = {
        "profile": (_Profile, "demo"),
        "data": (_Data, None),
        "start": (_Start, None),
        "stages": (_Stages, None),
        "overrides": (Overrides, None),
    }
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
