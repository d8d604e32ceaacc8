"""Commands that bring recordings in."""

import json
from typing import Annotated

import typer

from data_contracts.errors import UsageError
from flows.commands.options import Configuration, Json, configured
from flows.commands.run import run_pipeline


@configured
def ingest(
    configuration: Configuration,
    manifest: Annotated[str | None, typer.Option(help="JSONL manifest of recordings")] = None,
    folder: Annotated[str | None, typer.Option(help="folder of recordings")] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(help="public corpus, NAME=ROOT or NAME:SPLIT,SPLIT=ROOT; repeatable"),
    ] = None,
    list_corpora: Annotated[
        bool, typer.Option("--list", help="describe the corpora that --corpus knows")
    ] = False,
    as_json: Json = False,
) -> None:
    """Pack your own recordings or public corpora into checked shards: the first stage alone."""
    if list_corpora:
        from flows.corpora_screen import corpora_as_json, print_corpora
        from flows.run_screen import wide_console

        typer.echo(corpora_as_json()) if as_json else print_corpora(wide_console())
        return
    source = {"manifest": manifest, "folder": folder, "corpora": _corpora(corpus or [])}
    if sum(map(bool, source.values())) != 1:
        raise UsageError(
            "give exactly one of --manifest PATH, --folder PATH and --corpus NAME=ROOT; --list "
            "describes the corpora"
        )
    overrides = [f"data.{name}={json.dumps(value)}" for name, value in source.items()]
    run_pipeline(configuration.load(overrides), until="ingest")


def _corpora(texts: list[str]) -> list[dict[str, object]]:
    """Return the values of --corpus as a profile would have them."""
    sources: list[dict[str, object]] = []
    for text in texts:
        corpus, separator, root = text.partition("=")
        name, _, splits = corpus.partition(":")
        if not (separator and name and root):
            raise UsageError(
                f"--corpus {text!r} is not NAME=ROOT or NAME:SPLIT,SPLIT=ROOT, such as "
                "librispeech:train-clean-100,dev-clean=/data/LibriSpeech"
            )
        sources.append({"name": name, "root": root, "splits": [s for s in splits.split(",") if s]})
    return sources
