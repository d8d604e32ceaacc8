"""Findings of hygiene in a packed corpus: the records, their table and its contract."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Literal, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.contract import Contract, Rule
from data_contracts.records import NonEmpty, Record
from data_contracts.split_leaks import TEXT, text_series

FindingKind = Literal[
    "audio_leak",  # one recording in two splits
    "text_leak",  # one held-out text in two splits
    "tolerated_leak",  # either of these two where the recipe only reports leaks
    "repeated_audio",  # one recording several times in a split, from different sources
    "shared_question",  # one question with one answer in two splits: choices, conversations
    "similar_text",  # nearly the same held-out text in two splits
    "wrong_script",  # letters that the language is not written with
    "other_language",  # a text that looks like another language's
    "odd_speaking_rate",  # characters per second far from the language's
    "odd_level",  # far quieter or louder than the corpus's recordings of its kind
    "noisy",  # speech little above its background
    "mostly_silent",
    "clipped",  # flat tops
]
LEAKS: frozenset[FindingKind] = frozenset({"audio_leak", "text_leak"})
"""Findings that stop a run: an evaluation would ask about training data."""
_ROWS_AT_ONCE = 10_000


class Finding(Record):
    """One problem, or suspected problem, of one clip."""

    kind: FindingKind
    clip: NonEmpty
    """Id of the clip; of a pair in two splits the one nearer to training."""
    other: str | None = None
    """The other clip of a pair."""
    detail: str
    """Measured value, with the splits and suites concerned, in words."""
    value: float
    """Measured value: correlation, similarity, dB, share, characters per second, nats or, for
    `repeated_audio`, the number of its sources."""


class Histogram(Record):
    """Histogram of one measure for several groups: bins between `edges`, counts by group."""

    title: str
    unit: str
    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]


class HygieneReport(Record):
    """Report of hygiene on a corpus: `hygiene.json`."""

    recordings: int
    seconds: float
    compositions: int
    """Number of clips made of these recordings, which need no check of their own."""
    clips_by: dict[str, dict[str, dict[str, int]]]
    """task | language | kind -> its values -> split -> clips."""
    histograms: tuple[Histogram, ...]
    counts: dict[FindingKind, int]
    """Number of findings of each kind, all of which are lines of `hygiene.jsonl`."""
    findings: tuple[Finding, ...]
    """Top findings of each kind."""
    proposed_pairs: int
    """Number of pairs with similar fingerprints, whose waveforms were compared."""
    identifier: str
    """Languages of the identifier and how often it agreed with the labels, in words."""


_REMEDIES: dict[FindingKind, str] = {
    "audio_leak": "Remove one of the two from the manifest, give both the same split, or set "
    "ingest.hygiene.on_leak=drop, which rejects the clip nearer to training.",
    "text_leak": "Give all recordings of a sentence the same split, take the task out of "
    "ingest.hygiene.held_out_text where sentences may repeat, or set ingest.hygiene.on_leak=drop.",
    "tolerated_leak": "Set ingest.hygiene.on_leak to stop or drop: results on these clips measure "
    "memory.",
    "repeated_audio": "Keep one of them in the manifest: each copy counts the recording again.",
    "shared_question": "Read it: where only one recording can be meant, training knows the answer "
    "to a test question. Give both the same split, or remove one.",
    "similar_text": "Read both: a paraphrase of a test sentence makes its score too good.",
    "wrong_script": "Correct the language or the text of the row.",
    "other_language": "Read the text: the language may be wrong, or the text of another row.",
    "odd_speaking_rate": "Listen to the clip: its text probably belongs to another recording.",
    "odd_level": "Listen to the clip: it may be empty or badly recorded.",
    "noisy": "Listen to the clip, or train with it knowingly.",
    "mostly_silent": "Trim the recording: most of its tokens are silence.",
    "clipped": "Record it again at a lower level, or train with it knowingly.",
}

HYGIENE = Contract(
    name="hygiene",
    id_column="id",
    columns=("id",),
    nullable=get_args(FindingKind),
    rules=tuple(
        Rule(
            f"hygiene.no_{kind}",
            kind,
            "expect_column_values_to_be_null",
            _REMEDIES[kind],
            severity="stop" if kind in LEAKS else "report",
        )
        for kind in get_args(FindingKind)
    ),
    min_rows=0,
)


def hygiene_frame(findings: Iterable[Finding]) -> pd.DataFrame:
    """Build the table of the contract HYGIENE: a row per finding, its detail in its kind's column.

    The findings are not held.
    """
    kinds = get_args(FindingKind)
    remaining = iter(findings)
    pieces = [_columns(())]
    while some := list(islice(remaining, _ROWS_AT_ONCE)):
        pieces.append(_columns(some))
    ids, details, codes = (pa.chunked_array(chunks) for chunks in zip(*pieces, strict=True))
    null = pa.scalar(None, TEXT)
    columns = {
        kind: pc.if_else(pc.equal(codes, code), details, null) for code, kind in enumerate(kinds)
    }
    return pd.DataFrame(
        {name: text_series(column) for name, column in ({"id": ids} | columns).items()}
    )


def _columns(findings: Sequence[Finding]) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Columns of clip ids, details, and indices of the kinds."""
    kinds = get_args(FindingKind)
    return (
        pa.array([finding.clip for finding in findings], TEXT),
        pa.array([finding.detail for finding in findings], TEXT),
        pa.array([kinds.index(finding.kind) for finding in findings], pa.int8()),
    )
