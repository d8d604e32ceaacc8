"""Distributions of duration, level, noise and speaking rate, and the recordings far outside them.

Distance is measured robustly: |x - median| over 1.4826 times the median absolute deviation
(Iglewicz and Hoaglin, 1993), among the recordings that should be alike. Values are counted in
hundredths of their unit, so that memory does not grow with the corpus.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_contracts.clip_contracts import CHARACTERS_PER_SECOND
from data_contracts.hygiene import Finding, FindingKind, Histogram
from data_contracts.records import PackedClip
from data_contracts.split_leaks import SPLITS
from tasks.hygiene.shard_features import ShardFeatures

MIN_SNR_DB = 5.0
MOST_QUIET = 0.75
MOST_FLAT_TOPS = 0.001
MOST_DEVIATIONS = 6.0
_DETAILS = {
    "noisy": "{:.1f} dB",
    "mostly_silent": "{:.0%} of it is quiet",
    "clipped": "{:.2%} of it in flat tops",
    "odd_level": "{:.1f} dB below full scale",
    "odd_speaking_rate": "{:.1f} characters a second",
}
_LEAST_SPREAD = {"level": 2.0, "speaking_rate": 0.5}
"""Least deviation that counts, in dB and characters per second: recordings of one studio are too
alike to measure others by."""
_LEAST_GROUP = 20
_NUM_BINS = 30
_PER_UNIT = 100


class Typical(NamedTuple):
    """Typical value of a measure in a group, and its usual deviation."""

    median: float
    deviation: float
    """1.4826 times the median absolute deviation, or the least that counts."""


TypicalValues = Mapping[tuple[str, str], Typical]
"""By measure and group: ("level", kind) and ("speaking_rate", language)."""


class Distributions:
    """Counts of every measure's values by split, kind or language."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], Counter[int]] = defaultdict(Counter)

    def add(self, features: ShardFeatures) -> None:
        """Count the recordings of a shard."""
        by = {
            "split": np.array(SPLITS)[features.ranks],
            "kind": features.kinds,
            "language": features.languages,
        }
        for measure, group in (
            ("seconds", "split"),
            ("level", "split"),
            ("level", "kind"),
            ("snr_db", "split"),
            ("speaking_rate", "language"),
        ):
            values = features.measures[measure]
            for name in np.unique(by[group]).tolist():
                own = values[(by[group] == name) & np.isfinite(values)]
                distinct, counts = np.unique(np.rint(own * _PER_UNIT), return_counts=True)
                self._counts[measure, group, name].update(
                    dict(zip(distinct.astype(int).tolist(), counts.tolist(), strict=True))
                )

    def typical(self) -> TypicalValues:
        """Typical values of the groups with enough recordings; impossible rates don't count."""
        slowest, fastest = CHARACTERS_PER_SECOND
        typical = {}
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
                    typical[measure, name] = Typical(median, max(deviation, least_spread))
        return typical

    def histograms(self) -> tuple[Histogram, ...]:
        """Histograms of all measures by split, of the speaking rate by language."""
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
        """Distinct values in ascending order, and how often each occurs."""
        counts = sum((self._counts[measure, group, name] for name in names), Counter[int]())
        values = sorted(counts)
        return np.array(values) / _PER_UNIT, np.array([counts[value] for value in values], int)

    def _histogram(self, title: str, unit: str, measure: str, group: str) -> Histogram:
        """Histogram from the 0.1st to the 99.9th percentile; outer bins hold what lies beyond."""
        names = self._names(measure, group)
        if not names:
            return Histogram(title=title, unit=unit, edges=(), counts={})
        values, counts = self._values(measure, group, names)
        low, high = (_quantile(values, counts, share) for share in (0.001, 0.999))
        edges = np.linspace(low, max(high, low + 1e-6), _NUM_BINS + 1)
        binned = {}
        for name in names:
            own, weights = self._values(measure, group, [name])
            heights, _ = np.histogram(own.clip(low, high), edges, weights=weights)
            binned[name] = tuple(int(height) for height in heights)
        edge_values = tuple(round(float(edge), 4) for edge in edges)
        return Histogram(title=title, unit=unit, edges=edge_values, counts=binned)


def outliers(
    features: ShardFeatures, rows: Sequence[PackedClip], typical: TypicalValues
) -> Iterator[Finding]:
    """Find recordings of a shard with an odd level, speaking rate, noise, silence or clipping.

    Args:
        rows: the recordings that `features` describes.
    """
    measures = features.measures
    snr, quiet, flat = (measures[name] for name in ("snr_db", "quiet_share", "flat_top_share"))
    yield from _beyond(rows, "noisy", snr < MIN_SNR_DB, snr)
    yield from _beyond(rows, "mostly_silent", quiet > MOST_QUIET, quiet)
    yield from _beyond(rows, "clipped", flat > MOST_FLAT_TOPS, flat)
    levels = _by_group("level", features.kinds, typical)
    yield from _odd(rows, "odd_level", measures["level"], levels)
    rate = measures["speaking_rate"]
    slowest, fastest = CHARACTERS_PER_SECOND
    impossible = (rate < slowest) | (rate > fastest)
    yield from _beyond(rows, "odd_speaking_rate", impossible, rate)
    rates = _by_group("speaking_rate", features.languages, typical)
    yield from _odd(rows, "odd_speaking_rate", np.where(impossible, np.nan, rate), rates)


def _beyond(
    rows: Sequence[PackedClip],
    kind: FindingKind,
    where: NDArray[np.bool_],
    values: NDArray[Any],
    more: str = "",
) -> Iterator[Finding]:
    """A finding for each row where a condition holds, with its value."""
    for index in np.nonzero(where)[0].tolist():
        value, row = float(values[index]), rows[index]
        detail = f"{_DETAILS[kind].format(value)}{more} ({row.split})"
        yield Finding(kind=kind, clip=row.id, detail=detail, value=round(value, 4))


class _Group(NamedTuple):
    """The rows of a group whose typical value is known."""

    name: str
    members: NDArray[np.bool_]
    typical: Typical


def _by_group(measure: str, groups: NDArray[np.str_], typical: TypicalValues) -> Iterator[_Group]:
    for name in np.unique(groups).tolist():
        if (measure, name) in typical:
            yield _Group(name, groups == name, typical[measure, name])


def _odd(
    rows: Sequence[PackedClip], kind: FindingKind, values: NDArray[Any], groups: Iterable[_Group]
) -> Iterator[Finding]:
    """A finding for each value far from the typical one of its group."""
    for name, members, (median, deviation) in groups:
        far = np.abs(values - median) > MOST_DEVIATIONS * deviation
        more = f"; {name} has {median:.1f} in the middle"
        yield from _beyond(rows, kind, far & members, values, more)


def _quantile(values: NDArray[np.float64], counts: NDArray[np.int64], share: float) -> float:
    """Quantile of values that occur `counts` times each; between two values their mean."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    position = share * (reached[-1] - 1)
    around = np.searchsorted(reached, [np.floor(position), np.ceil(position)], side="right")
    return float(values[order][around].mean())
