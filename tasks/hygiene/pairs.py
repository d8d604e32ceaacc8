"""Recordings that are one: proposed by fingerprints, decided by their waveforms.

Measured on the embedded corpus (6,221 recordings, 19 million pairs) with the default thresholds:
226 are confirmed, all within a split: 225 are one note at two velocities of one sample, one a sound
that is there twice. Of 300 recordings drawn at random, 97.7 % (Opus at 32 kbit/s) to 100 %
(MP3 at 64 kbit/s, 12 dB quieter) are found as copies, and 92.7 to 99.3 % in a corpus that is packed
as Opus; drills print all of it. Noise 20 dB below a copy hides it often, and so does another speed,
or if less than half is common.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_contracts.hygiene import Finding
from data_contracts.leaks import SPLIT_ORDER
from data_contracts.records import PackedClip
from infra.store import Store
from tasks.clips import ClipReader
from tasks.context import StageContext
from tasks.hygiene.fingerprint import HOP_SAMPLES
from tasks.hygiene.gathered import Gathered, Recordings
from tasks.hygiene.search import Match, find_matches
from tasks.hygiene.waveform import correlation

_PAIRS_AT_ONCE = 500
_ROWS_FOR = 5000
"""Pairs whose rows are read in one pass."""


@dataclass(frozen=True)
class _Pair:
    first: PackedClip
    second: PackedClip
    offset: int
    """Samples."""
    bit_error: float


def same_recordings(
    context: StageContext,
    gathered: Gathered,
    folder: Path,
    max_bit_error: float,
    min_overlap: float,
    min_correlation: float,
) -> tuple[int, list[Finding]]:
    """How many pairs were proposed, and those whose waveforms agree as findings.

    Args:
        folder: where the index of fingerprints is made; left to be deleted.
    """
    matches = find_matches(gathered.prints, folder, max_bit_error, min_overlap)
    portions = _portions(gathered.recordings, matches)
    compare = partial(_same, context.directory, min_correlation)
    findings = [found for part in context.compute.map(compare, portions) for found in part]
    return len(matches), findings


def _portions(recordings: Recordings, matches: Sequence[Match]) -> Iterator[list[_Pair]]:
    """The work of one task each."""
    for start in range(0, len(matches), _ROWS_FOR):
        some = matches[start : start + _ROWS_FOR]
        rows = recordings.of(number for match in some for number in (match.first, match.second))
        pairs = [
            _Pair(rows[m.first], rows[m.second], m.offset * HOP_SAMPLES, m.bit_error) for m in some
        ]
        for place in range(0, len(pairs), _PAIRS_AT_ONCE):
            yield pairs[place : place + _PAIRS_AT_ONCE]


def _same(directory: Store, least: float, pairs: Sequence[_Pair]) -> list[Finding]:
    rows = {row.id: row for pair in pairs for row in (pair.first, pair.second)}
    reader = ClipReader(directory, list(rows.values()))
    findings = []
    for pair in pairs:
        value = correlation(reader[pair.first.id], reader[pair.second.id], pair.offset)
        if value >= least:
            findings.append(_finding(pair, value))
    return findings


def _finding(pair: _Pair, value: float) -> Finding:
    near, far = sorted((pair.first, pair.second), key=lambda row: SPLIT_ORDER[row.split])
    exact = "the same samples" if near.sha256 == far.sha256 else "the same recording"
    return Finding(
        kind="repeated_audio" if near.split == far.split else "audio_leak",
        clip=near.id,
        other=far.id,
        detail=f"{exact} as {far.id!r}: {near.split} and {far.split}, correlation {value:.2f}, "
        f"{pair.bit_error:.0%} of fingerprint bits differ",
        value=round(value, 4),
    )
