"""The rows of a source, and a folder of recordings with transcripts."""

from pathlib import Path

from data_contracts.records import Clip, Rejected
from tasks.sources.manifest import DataSource, iter_source
from tests.support.recordings import sound_file, tone


def read_source(source: DataSource) -> tuple[list[Clip], list[Rejected]]:
    """The rows that are recordings, and the others."""
    rows = list(iter_source(source))
    clips = [row for row in rows if isinstance(row, Clip)]
    return clips, [row for row in rows if isinstance(row, Rejected)]


def fill_folder(folder: Path) -> None:
    """Write five recordings with transcripts, three below a language."""
    for name in ("en/hello", "fr/bonjour", "de/nested/tag", "zz", "07/numbered"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.wav").write_bytes(sound_file(tone(0.2)))
        (folder / f"{name}.txt").write_text(f" {name.rsplit('/')[-1]}\n")
