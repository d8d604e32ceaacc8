"""How duration, level, noise and speaking rate are spread, and which recordings lie far outside.

Far is measured robustly: |x - median| over 1.4826 times the median absolute deviation (Iglewicz
and Hoaglin, 1993), within the recordings that should be alike. Values are counted in hundredths
of their unit, so that what is held does not grow with the corpus.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_contracts.clip_contracts import CHARACTERS_PER_SECOND
from data_contracts.hygiene import Finding, FindingKind, Histogram
from data_contracts.records import PackedClip
from data_contracts.split_leaks import SPLITS
from tasks.hygiene.shard_features import MEASURES, Heard

MIN_SNR_DB = 5.0
MOST_QUIET = 0.75
MOST_FLAT_TOPS = 0.001
MOST_DEVIATIONS = 6.0
_TOLD = {
    "noisy": "{:.1f} dB",
    "mostly_silent": "{:.0%} of it is quiet",
    "clipped": "{:.2%} of it in flat tops",
    "odd_level": "{:.1f} dB below full scale",
    "odd_speaking_rate": "{:.1f} characters a second",
}
_LEAST_SPREAD = {"level": 2.0, "speaking_rate": 0.5}
"""dB, characters a second: recordings of one studio are too alike to measure others by."""
_LEAST_GROUP = 20
_NUM_BINS = 30
_PER_UNIT = 100


class Middle(NamedTuple):
    """What is usual for a measure in a group."""

    median: float
    deviation: float
    """1.4826 times the median absolute deviation, or the least that counts."""


Usual = Mapping[tuple[str, str], Middle]
"""By measure and group: of "level" the kind, of "speaking_rate" the language."""


class Spread:
    """Counts of every measure by split, kind or language."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], Counter[int]] = defaultdict(Counter)

    def add(self, heard: Heard) -> None:
        """Count the recordings of a shard."""
        by = {
            "split": np.array(SPLITS)[heard.ranks],
            "kind": heard.kinds,
            "language": heard.languages,
        }
        for measure, group in (
            ("seconds", "split"),
            ("level", "split"),
            ("level", "kind"),
            ("snr_db", "split"),
            ("speaking_rate", "language"),
        ):
            values = _column(heard, measure)
            for name in np.unique(by[group]).tolist():
                own = values[(by[group] == name) & np.isfinite(values)]
                found, counts = np.unique(np.rint(own * _PER_UNIT), return_counts=True)
                self._counts[measure, group, name].update(
                    dict(zip(found.astype(int).tolist(), counts.tolist(), strict=True))
                )

    def usual(self) -> Usual:
        """What is usual where a group has enough to say so; of rates among the possible ones."""
        slowest, fastest = CHARACTERS_PER_SECOND
        usual = {}
        for measure, group, least, most in (
            ("level", "kind", -np.inf, np.inf),
            ("speaking_rate", "language", slowest, fastest),
        ):
            for name in self._names(measure, group):
                values, counts = self._values(measure, group, [name])
                possible = (values >= least) & (values <= most)
                values, counts = values[possible], counts[possible]
                if counts.sum() >= _LEAST_GROUP:
                    median = _quantile(values, counts, 0.5)
                    deviation = 1.4826 * _quantile(np.abs(values - median), counts, 0.5)
                    least_spread = _LEAST_SPREAD[measure]
                    usual[measure, name] = Middle(median, max(deviation, least_spread))
        return usual

    def histograms(self) -> tuple[Histogram, ...]:
        """Of every measure: by split, the speaking rate by language."""
        return (
            self._histogram("Duration", "s", "seconds", "split"),
            self._histogram("Level", "dB below full scale", "level", "split"),
            self._histogram("Signal to noise of speech, estimated", "dB", "snr_db", "split"),
            self._histogram("Speaking rate", "characters/s", "speaking_rate", "language"),
        )

    def _names(self, measure: str, group: str) -> list[str]:
        return sorted(
            name for *key, name in self._counts if key == [measure, group]
            if self._counts[measure, group, name]
        )  # fmt: skip

    def _values(
        self, measure: str, group: str, names: Sequence[str]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Different values in ascending order, and how often each is there."""
        counts = sum((self._counts[measure, group, name] for name in names), Counter[int]())
        values = sorted(counts)
        return np.array(values) / _PER_UNIT, np.array([counts[value] for value in values], int)

    def _histogram(self, title: str, unit: str, measure: str, group: str) -> Histogram:
        """Between the 0.1st and 99.9th percentile; what lies beyond counts in the outer bins."""
        names = self._names(measure, group)
        if not names:
            return Histogram(title=title, unit=unit, edges=(), counts={})
        values, counts = self._values(measure, group, names)
        low, high = (_quantile(values, counts, share) for share in (0.001, 0.999))
        edges = np.linspace(low, max(high, low + 1e-6), _NUM_BINS + 1)
        binned = {}
        for name in names:
            own, often = self._values(measure, group, [name])
            found, _ = np.histogram(own.clip(low, high), edges, weights=often)
            binned[name] = tuple(int(count) for count in found)
        edge_values = tuple(round(float(edge), 4) for edge in edges)
        return Histogram(title=title, unit=unit, edges=edge_values, counts=binned)


def outliers(heard: Heard, rows: Sequence[PackedClip], usual: Usual) -> Iterator[Finding]:
    """Recordings of a shard with an odd level, speaking rate, noise, silence or clipping.

    Args:
        rows: its recordings.
    """
    measured = {name: _column(heard, name) for name in MEASURES}
    snr, quiet, flat = (measured[name] for name in ("snr_db", "quiet_share", "flat_top_share"))
    yield from _beyond(rows, "noisy", snr < MIN_SNR_DB, snr)
    yield from _beyond(rows, "mostly_silent", quiet > MOST_QUIET, quiet)
    yield from _beyond(rows, "clipped", flat > MOST_FLAT_TOPS, flat)
    yield from _odd(rows, "odd_level", measured["level"], "level", heard.kinds.tolist(), usual)
    rate = measured["speaking_rate"]
    slowest, fastest = CHARACTERS_PER_SECOND
    impossible = (rate < slowest) | (rate > fastest)
    yield from _beyond(rows, "odd_speaking_rate", impossible, rate)
    possible, languages = np.where(impossible, np.nan, rate), heard.languages.tolist()
    yield from _odd(rows, "odd_speaking_rate", possible, "speaking_rate", languages, usual)


def _column(heard: Heard, measure: str) -> NDArray[Any]:
    return heard.measures[:, MEASURES.index(measure)]


def _beyond(
    rows: Sequence[PackedClip],
    kind: FindingKind,
    where: NDArray[np.bool_],
    values: NDArray[Any],
    more: str = "",
) -> Iterator[Finding]:
    for number in np.nonzero(where)[0].tolist():
        value, row = float(values[number]), rows[number]
        detail = f"{_TOLD[kind].format(value)}{more} ({row.split})"
        yield Finding(kind=kind, clip=row.id, detail=detail, value=round(value, 4))


def _odd(
    rows: Sequence[PackedClip],
    kind: FindingKind,
    values: NDArray[Any],
    measure: str,
    groups: Sequence[str],
    usual: Usual,
) -> Iterator[Finding]:
    """Values far from what is usual in their group, where that is known."""
    names = np.array(groups)
    for name in sorted(set(groups)):
        if middle := usual.get((measure, name)):
            far = np.abs(values - middle.median) > MOST_DEVIATIONS * middle.deviation
            more = f"; {name} has {middle.median:.1f} in the middle"
            yield from _beyond(rows, kind, far & (names == name), values, more)


def _quantile(values: NDArray[np.float64], counts: NDArray[np.int64], share: float) -> float:
    """Of values that are there `counts` times; between two values their mean."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    place = share * (reached[-1] - 1)
    around = np.searchsorted(reached, [np.floor(place), np.ceil(place)], side="right")
    return float(values[order][around].mean())
