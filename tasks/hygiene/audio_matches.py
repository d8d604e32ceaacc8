"""Recordings that are one: proposed by fingerprints, decided by their waveforms.

Measured on the embedded corpus (6,221 recordings, 19 million pairs) with the default thresholds:
226 are confirmed, all within a split: 225 are one note at two velocities of one sample, one a sound
that is there twice. Of 300 recordings drawn at random, 97.7 % (Opus at 32 kbit/s) to 100 %
(MP3 at 64 kbit/s, 12 dB quieter) are found as copies, and 92.7 to 99.3 % in a corpus that is packed
as Opus; drills print all of it. Noise 20 dB below a copy hides it often, and so does another speed,
or if less than half is common.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.hygiene import Finding
from data_contracts.records import PackedClip
from infra.storage.store import Store
from tasks.context import StageContext
from tasks.corpus.reader import ClipReader
from tasks.hygiene.corpus_features import Gathered, Recordings
from tasks.hygiene.fingerprint import HOP_SAMPLES
from tasks.hygiene.fingerprint_search import Match, find_matches
from tasks.hygiene.same_recording import SAME, Families, Leak, Repeat
from tasks.hygiene.waveform import correlation

_PAIRS_AT_ONCE = 500
_ROWS_FOR = 5000
"""Pairs whose rows are read in one pass."""


@dataclass(frozen=True)
class _Pair:
    match: Match
    first: PackedClip
    second: PackedClip


def compare(
    context: StageContext,
    gathered: Gathered,
    folder: Path,
    max_bit_error: float,
    min_overlap: float,
    min_correlation: float,
) -> int:
    """Tell `gathered.families` which recordings are one; returns how many pairs were proposed.

    Args:
        folder: where the index of fingerprints is made; left to be deleted.
    """
    proposed = count()
    matches = find_matches(gathered.prints, folder, max_bit_error, min_overlap)
    counted = (match for match, _ in zip(matches, proposed, strict=False))
    judge = partial(_same, context.directory, min_correlation)
    for same in context.compute.map(judge, _portions(gathered.recordings, counted)):
        gathered.families.add(same)
    return next(proposed)


def same_recordings(families: Families, recordings: Recordings) -> Iterator[Finding]:
    """A finding for each recording that is in a later split too, and one for each that is several
    times in a split, however often.
    """
    leaks = families.leaks()
    while some := list(islice(leaks, _ROWS_FOR)):
        rows = recordings.of(number for leak in some for number in (leak.near, leak.far))
        yield from (_leaked(leak, rows[leak.near], rows[leak.far]) for leak in some)
    repeats = families.repeats()
    while found := list(islice(repeats, _ROWS_FOR)):
        rows = recordings.of(number for each in found for number in (each.first, each.other))
        yield from (_repeated(each, rows[each.first], rows[each.other]) for each in found)


def _portions(recordings: Recordings, matches: Iterable[Match]) -> Iterator[list[_Pair]]:
    """The work of one task each."""
    remaining = iter(matches)
    while some := list(islice(remaining, _ROWS_FOR)):
        rows = recordings.of(number for match in some for number in (match.first, match.second))
        pairs = [_Pair(match, rows[match.first], rows[match.second]) for match in some]
        for place in range(0, len(pairs), _PAIRS_AT_ONCE):
            yield pairs[place : place + _PAIRS_AT_ONCE]


def _same(directory: Store, least: float, pairs: Sequence[_Pair]) -> NDArray[Any]:
    """The pairs of SAME among some."""
    rows = {row.id: row for pair in pairs for row in (pair.first, pair.second)}
    reader = ClipReader(directory, list(rows.values()))
    same = []
    for pair in pairs:
        first, second, offset, bit_error = pair.match
        waveforms = reader[pair.first.id], reader[pair.second.id]
        value = correlation(*waveforms, offset * HOP_SAMPLES)
        if value >= least:
            same.append((first, second, value, bit_error))
    return np.array(same, SAME)


def _leaked(leak: Leak, near: PackedClip, far: PackedClip) -> Finding:
    exact = "the same samples" if near.sha256 == far.sha256 else "the same recording"
    return Finding(
        kind="audio_leak",
        clip=near.id,
        other=far.id,
        detail=f"{exact} as {far.id!r}: {near.split} and {far.split}, correlation "
        f"{leak.value:.2f}, {leak.bit_error:.0%} of fingerprint bits differ",
        value=round(leak.value, 4),
    )


def _repeated(repeat: Repeat, first: PackedClip, other: PackedClip) -> Finding:
    return Finding(
        kind="repeated_audio",
        clip=first.id,
        other=other.id,
        detail=f"the same recording as {other.id!r}, {repeat.num_sources} times in {first.split}, "
        f"correlation {repeat.lowest:.2f} at least",
        value=repeat.num_sources,
    )
