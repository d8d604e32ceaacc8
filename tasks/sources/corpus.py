"""Form of a corpus recipe (`corpora/`): reads a public corpus's own layout as manifest rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict

from data_contracts.records import Rejected, Split, TaskName, Turn
from tasks.sources.corpus_files import CorpusFiles


class Row(TypedDict, total=False):
    """One recording as the corpus describes it; the fields are those of `Clip`.

    `id`, `speaker` and `phrase` are prefixed with the name of the corpus; `split`, and `license`
    where it is absent, are filled in. Nothing is checked here: a row that breaks a field's rule is
    rejected by itself and listed.
    """

    id: str
    audio: str
    begin_byte: int
    num_bytes: int
    begin_seconds: float
    end_seconds: float
    seconds: float
    targets: Mapping[TaskName, str]
    question: str
    conversation: tuple[Turn, ...]
    language: str
    target_language: str
    speaker: str
    phrase: str
    kind: str
    license: str


Rows = Callable[[CorpusFiles, str], Iterator[Row | Rejected]]
"""(files below the root, split) -> rows in a fixed order, never all of them in memory."""


@dataclass(frozen=True)
class Corpus:
    """A corpus as its authors publish it."""

    name: str
    """Name in `q2a ingest --data NAME=ROOT`, and every row's `source`."""
    title: str
    license: str
    """SPDX identifier, or the corpus's own words where there is none."""
    homepage: str
    tasks: tuple[str, ...]
    """Each the name of a task, or "conversation"."""
    languages: tuple[str, ...]
    """ISO 639-1 codes; none where nobody speaks."""
    splits: Mapping[str, Split]
    """The corpus's own name of a split, such as "train-clean-100" -> the split that it becomes."""
    layout: str
    """Files below the root that the recipe reads, in the words that `--list` prints."""
    rows: Rows
    is_form: bool = False
    """Whether this is a layout that many corpora have: rows are then named after their folder, and
    their licence is unknown."""

    @property
    def is_by_language(self) -> bool:
        """Whether splits are per language, such as "fr/train", so that a source must name some."""
        return all("/" in name for name in self.splits)


def by_language(languages: Iterable[str], splits: Mapping[str, Split]) -> dict[str, Split]:
    """Splits of a corpus that has each of them in each language, such as "fr/train"."""
    return {f"{language}/{name}": split for language in languages for name, split in splits.items()}
