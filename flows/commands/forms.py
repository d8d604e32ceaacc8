"""Commands about data in the forms of other tools: look at it, and export it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_contracts.errors import UsageError
from flows.commands.options import Json

if TYPE_CHECKING:
    from tasks.corpus.export import Exportable
    from tasks.sources.manifest import DataSource

_Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="name of a column, FIELD=COLUMN, as audio=file; repeatable"),
]


def look(
    data: Annotated[str, typer.Argument(help="manifest, folder, data set or corpus as NAME=ROOT")],
    column: _Columns = None,
    as_json: Json = False,
) -> None:
    """Show what is understood of data before anything is packed: form, rows, counts, problems."""
    from flows.data_screen import print_overview
    from flows.tables import wide_console
    from tasks.sources.overview import look as look_at

    overview = look_at(_source(data, column))
    if as_json:
        typer.echo(overview.model_dump_json(indent=2))
    else:
        print_overview(wide_console(), overview)


def export(
    corpus: Annotated[
        str, typer.Argument(help="`latest`, fingerprint of an ingested corpus, or data as in look")
    ],
    out: Annotated[Path, typer.Argument(help="new folder for the rows and their recordings")],
    form: Annotated[
        str, typer.Option(help="ms-swift, llama-factory, openai, hf-chat or nemo")
    ] = "ms-swift",
    column: _Columns = None,
) -> None:
    """Write conversations, pairs and labels with their recordings in a form of another tool."""
    from tasks.corpus.export import export as export_rows
    from tasks.sources.forms.writers import WRITERS

    name = next((name for name in WRITERS if name == form), None)
    if name is None:
        raise UsageError(f"--form {form!r} is none of {', '.join(WRITERS)}")
    for file, count in export_rows(_exportable(corpus, column), name, out).items():
        typer.echo(f"{out / file}: {count} rows")


def _source(data: str, columns: list[str] | None) -> "DataSource":
    """Return the source that a text and the names of columns stand for."""
    from pydantic import ValidationError

    from data_contracts.jsonl import explain
    from tasks.sources.manifest import DataSource
    from tasks.sources.named_source import data_source

    named = {}
    for text in columns or []:
        field, separator, column = text.partition("=")
        if not (separator and field and column):
            raise UsageError(f"--column {text!r} is not FIELD=COLUMN, such as audio=file")
        named[field] = column
    try:
        return DataSource.model_validate({**data_source(data), "columns": named})
    except ValidationError as error:
        raise UsageError(f"{data!r} can't be read: {explain(error)}") from error


def _exportable(corpus: str, columns: list[str] | None) -> "Exportable":
    """Open a finished corpus of the store, or else the data that the text names."""
    from infra.ledger import Ledger
    from infra.settings import read_settings
    from infra.storage.known_stores import open_store
    from tasks.corpus.export import PackedCorpus, SourceRows

    is_data = Path(corpus).exists() or "=" in corpus or "://" in corpus
    if is_data:
        return SourceRows(_source(corpus, columns))
    settings = read_settings()
    ledger = Ledger(open_store(settings), settings.home / "locks")
    records = ledger.records("ingest")
    matches = [r for r in records if corpus == "latest" or r.fingerprint.startswith(corpus)]
    if not matches or (corpus != "latest" and len(matches) > 1):
        known = ", ".join(record.fingerprint[:12] for record in records) or "none"
        raise UsageError(
            f"{corpus!r} is no file or folder and names {len(matches)} ingested corpora; there are "
            f"{known}. Name one, `latest`, or data."
        )
    return PackedCorpus(ledger.directory("ingest", matches[0].fingerprint))
