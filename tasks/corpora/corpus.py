"""What a recipe of `tasks/corpora/` is: a public corpus's own layout, turned into manifest rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from data_contracts.records import Clip, Task

Rows = Callable[[str, str], Iterator[Clip]]
"""(root, split) -> the rows of one split, in a fixed order, without holding them all in memory.

`root` is the folder, or fsspec URL, into which the corpus was unpacked. `audio` of a row is an
absolute path or URL; a row's `split`, `language`, `license` and `source` are filled in.
"""


@dataclass(frozen=True)
class Corpus:
    """A corpus as its authors publish it."""

    name: str
    """As in `q2a ingest --corpus NAME=ROOT`, and every row's `source`."""
    title: str
    license: str
    """SPDX identifier, or the words of the corpus where there is none."""
    homepage: str
    tasks: tuple[Task, ...]
    splits: tuple[str, ...]
    """The corpus's own names of its splits, such as "train-clean-100"."""
    layout: str
    """The files that the recipe reads, below the root, as `--list` prints it."""
    rows: Rows


class CorpusError(ValueError):
    """A folder is not laid out as the corpus is published; says what is missing where."""
