"""How duration, level, noise and speaking rate are spread, and which recordings lie far outside.

Far is measured robustly: |x - median| over 1.4826 times the median absolute deviation (Iglewicz
and Hoaglin, 1993), within the recordings that should be alike.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from data_contracts import clip_tables
from data_contracts.hygiene import Finding, FindingKind, Histogram
from data_contracts.records import PackedClip
from data_contracts.suites import CHARACTERS_PER_SECOND
from model.audio import SAMPLE_RATE
from tasks.hygiene.scan import MEASURES, Scan

MIN_SNR_DB = 5.0
MOST_QUIET = 0.75
MOST_FLAT_TOPS = 0.001
MOST_DEVIATIONS = 6.0
LEAST_SPREAD = {"odd_level": 2.0, "odd_speaking_rate": 0.5}
"""dB, characters a second: recordings of one studio are too alike to measure others by."""
_LEAST_GROUP = 20
_NUM_BINS = 30


def outliers(scan: Scan) -> list[Finding]:
    """Recordings with an odd level, speaking rate, noise, silence or clipping."""
    measured = dict(zip(MEASURES, scan.measures.T, strict=True))
    speech = np.array([row.language is not None for row in scan.rows], dtype=bool)
    snr, quiet, flat = (measured[name] for name in MEASURES)
    found = [
        *_beyond(scan, "noisy", speech & (snr < MIN_SNR_DB), snr, "{:.1f} dB"),
        *_beyond(scan, "mostly_silent", quiet > MOST_QUIET, quiet, "{:.0%} of it is quiet"),
        *_beyond(scan, "clipped", flat > MOST_FLAT_TOPS, flat, "{:.2%} of it in flat tops"),
    ]
    levels = _levels(scan.rows)
    kinds = [row.kind for row in scan.rows]
    found += _odd(scan, "odd_level", levels, kinds, "{:.1f} dB below full scale")
    rates = _speaking_rates(scan.rows)
    slowest, fastest = CHARACTERS_PER_SECOND
    text = "{:.1f} characters a second"
    impossible = (rates < slowest) | (rates > fastest)
    found += _beyond(scan, "odd_speaking_rate", impossible, rates, text)
    possible = np.where(impossible, np.nan, rates)
    languages = [row.language or "" for row in scan.rows]
    return found + _odd(scan, "odd_speaking_rate", possible, languages, text)


def histograms(scan: Scan) -> tuple[Histogram, ...]:
    """Of every measure: by split, the speaking rate by language."""
    splits = [row.split for row in scan.rows]
    languages = [row.language or "none" for row in scan.rows]
    seconds = np.array([row.num_samples / SAMPLE_RATE for row in scan.rows])
    snr = np.where([row.language is not None for row in scan.rows], scan.measures[:, 0], np.nan)
    return (
        _histogram("Duration", "s", seconds, splits),
        _histogram("Level", "dB below full scale", _levels(scan.rows), splits),
        _histogram("Signal to noise of speech, estimated", "dB", snr, splits),
        _histogram("Speaking rate", "characters/s", _speaking_rates(scan.rows), languages),
    )


def _levels(rows: Sequence[PackedClip]) -> NDArray[np.float64]:
    return np.array([-20 * np.log10(max(row.rms, 1e-6)) for row in rows])


def _speaking_rates(rows: Sequence[PackedClip]) -> NDArray[np.float64]:
    """Characters a second of recorded speech with a transcript, NaN for all else."""
    rates = clip_tables.characters_per_second(rows)
    return np.where([row.kind == "speech" for row in rows], rates, np.nan)


def _beyond(
    scan: Scan,
    kind: FindingKind,
    where: NDArray[np.bool_],
    values: NDArray[np.floating],
    text: str,
) -> Iterator[Finding]:
    for number in np.nonzero(where)[0].tolist():
        value = float(values[number])
        yield Finding(
            kind=kind,
            clip=scan.rows[number].id,
            detail=f"{text.format(value)} ({scan.rows[number].split})",
            value=round(value, 4),
        )


def _odd(
    scan: Scan,
    kind: FindingKind,
    values: NDArray[np.float64],
    groups: Sequence[str],
    text: str,
) -> list[Finding]:
    """Values far from those of their group, where the group has enough to say what is usual."""
    members: dict[str, list[int]] = defaultdict(list)
    for number in np.nonzero(np.isfinite(values))[0].tolist():
        members[groups[number]].append(number)
    found: list[Finding] = []
    for group, numbers in sorted(members.items()):
        if len(numbers) < _LEAST_GROUP:
            continue
        own = values[numbers]
        median = float(np.median(own))
        spread = 1.4826 * float(np.median(np.abs(own - median)))
        far = np.zeros(len(values), bool)
        far[numbers] = np.abs(own - median) > MOST_DEVIATIONS * max(spread, LEAST_SPREAD[kind])
        found += _beyond(scan, kind, far, values, f"{text}; {group} has {median:.1f} in the middle")
    return found


def _histogram(
    title: str, unit: str, values: NDArray[np.floating], groups: Sequence[str]
) -> Histogram:
    """Between the 0.1st and 99.9th percentile; what lies beyond counts in the outer bins."""
    known = np.isfinite(values)
    if not known.any():
        return Histogram(title=title, unit=unit, edges=(), counts={})
    low, high = np.percentile(values[known], [0.1, 99.9])
    edges = np.linspace(low, max(high, low + 1e-6), _NUM_BINS + 1)
    names = np.array(groups)
    counts = {
        name: tuple(
            int(n) for n in np.histogram(values[known & (names == name)].clip(low, high), edges)[0]
        )
        for name in dict.fromkeys(names[known].tolist())
    }
    return Histogram(
        title=title, unit=unit, edges=tuple(round(float(edge), 4) for edge in edges), counts=counts
    )
