"""Form of the recipes in `corpora/`: a public corpus's own layout, turned into manifest rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypedDict

from data_contracts.records import Rejected, Split, TaskName, Turn
from tasks.sources.corpus_files import CorpusFiles


class Row(TypedDict, total=False):
    """What a corpus says of one recording, in its own names; the fields are those of `Clip`.

    `id`, `speaker` and `phrase` get the name of the corpus in front; `split`, and `license` where
    it is absent, are filled in. Nothing is checked here: a row that breaks a
    field's rule is rejected by itself, and listed.
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
"""(files below the root, split) -> its rows in a fixed order, never all of them in memory."""


@dataclass(frozen=True)
class Corpus:
    """A corpus as its authors publish it."""

    name: str
    """As in `q2a ingest --corpus NAME=ROOT`, and every row's `source`."""
    title: str
    license: str
    """SPDX identifier, or the words of the corpus where there is none."""
    homepage: str
    tasks: tuple[str, ...]
    """Each the name of a task, or "conversation"."""
    languages: tuple[str, ...]
    """ISO 639-1 codes; none where nobody speaks."""
    splits: Mapping[str, Split]
    """The corpus's own name of each split, as "train-clean-100", and the split that it becomes."""
    layout: str
    """The files that the recipe reads, below the root, as `--list` prints it."""
    rows: Rows
    is_form: bool = False
    """Whether this is a form that many corpora have: rows are named after their folder then, and
    nobody knows their licence."""

    @property
    def is_by_language(self) -> bool:
        """Whether every split is one of a language, "fr/train", so that a source must name some."""
        return all("/" in name for name in self.splits)


def by_language(languages: Iterable[str], splits: Mapping[str, Split]) -> dict[str, Split]:
    """Splits of a corpus that has each of them in each language, as "fr/train"."""
    return {f"{language}/{name}": split for language in languages for name, split in splits.items()}
