"""What hygiene found in a packed corpus, as records, as a table and with the rules for it."""

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
    "tolerated_leak",  # either of them where the recipe only reports leaks
    "repeated_audio",  # one recording several times in a split, from different sources
    "shared_question",  # one question with one answer in two splits: choices, conversations
    "similar_text",  # nearly the same held-out text in two splits
    "wrong_script",  # letters that the language is not written with
    "other_language",  # a text that looks like another language's
    "odd_speaking_rate",  # characters a second far from the language's
    "odd_level",  # far quieter or louder than the corpus's recordings of its kind
    "noisy",  # speech little above its background
    "mostly_silent",
    "clipped",  # flat tops
]
LEAKS: frozenset[FindingKind] = frozenset({"audio_leak", "text_leak"})
"""Findings that stop a run: what training hears would be asked in an evaluation."""
_ROWS_AT_ONCE = 10_000


class Finding(Record):
    """One thing that is wrong, or looks so, with one clip."""

    kind: FindingKind
    clip: NonEmpty
    """Of a pair in two splits the one nearer to training."""
    other: str | None = None
    """The other clip of a pair."""
    detail: str
    """What was measured, with the splits and suites concerned, in words."""
    value: float
    """The measure: correlation, similarity, dB, share, characters a second, nats or, of repeated
    audio, how many sources it has."""


class Histogram(Record):
    """Counts of one measure for each of some groups; `edges` has one number more than a count."""

    title: str
    unit: str
    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]


class HygieneReport(Record):
    """What hygiene found out about a corpus: `hygiene.json`."""

    recordings: int
    seconds: float
    compositions: int
    """Clips made of these recordings, which need no check of their own."""
    clips_by: dict[str, dict[str, dict[str, int]]]
    """task | language | kind -> its values -> split -> clips."""
    histograms: tuple[Histogram, ...]
    counts: dict[FindingKind, int]
    """All findings, which are the lines of `hygiene.jsonl`."""
    findings: tuple[Finding, ...]
    """Of each kind the foremost."""
    proposed_pairs: int
    """Pairs with similar fingerprints, whose waveforms were compared."""
    identifier: str
    """What the language identifier knows and how often it agreed with the labels."""


_REMEDIES: dict[FindingKind, str] = {
    "audio_leak": "Remove one of the two from the manifest, give both one split, or set "
    "ingest.hygiene.on_leak=drop, which rejects the clip nearer to training.",
    "text_leak": "Give all recordings of a sentence one split, take the task out of "
    "ingest.hygiene.held_out_text where sentences may repeat, or set ingest.hygiene.on_leak=drop.",
    "tolerated_leak": "ingest.hygiene.on_leak=report let it pass: results on these clips measure "
    "memory. Set it to stop or drop.",
    "repeated_audio": "Keep one of them in the manifest: each counts the recording once more.",
    "shared_question": "Read it: where only one recording can be meant, training knows the answer "
    "to a test question. Give both one split, or remove one.",
    "similar_text": "Read both: a paraphrase of a test sentence makes its score too good.",
    "wrong_script": "Correct the language or the text of the row.",
    "other_language": "Read the text: the language may be wrong, or the text of another row.",
    "odd_speaking_rate": "Listen to the clip: its text is probably of another take.",
    "odd_level": "Listen to the clip: it may hold nothing, or a fault of the recording.",
    "noisy": "Listen to the clip, or train with it knowingly.",
    "mostly_silent": "Trim the recording: most of its tokens say nothing.",
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
    """A row for each finding, its detail in the column of its kind, for the contract HYGIENE.

    The findings are not held.
    """
    kinds = get_args(FindingKind)
    remaining = iter(findings)
    pieces = [_columns(())]
    while some := list(islice(remaining, _ROWS_AT_ONCE)):
        pieces.append(_columns(some))
    ids, details, codes = (pa.chunked_array(found) for found in zip(*pieces, strict=True))
    nothing = pa.scalar(None, TEXT)
    columns = {
        kind: pc.if_else(pc.equal(codes, code), details, nothing) for code, kind in enumerate(kinds)
    }
    return pd.DataFrame(
        {name: text_series(found) for name, found in ({"id": ids} | columns).items()}
    )


def _columns(findings: Sequence[Finding]) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Clips, details and kinds by their place."""
    kinds = get_args(FindingKind)
    return (
        pa.array([found.clip for found in findings], TEXT),
        pa.array([found.detail for found in findings], TEXT),
        pa.array([kinds.index(found.kind) for found in findings], pa.int8()),
    )
