"""Counts of all findings and the top ones of each kind; the findings themselves lie in a file."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from data_contracts.hygiene import Finding, FindingKind

MOST_SHOWN = 25
"""Findings of each kind that the report shows; the file has all."""


class TopFindings:
    """Number of findings of each kind, and those with the largest values."""

    def __init__(self) -> None:
        self.counts: Counter[FindingKind] = Counter()
        self._kept: dict[FindingKind, list[Finding]] = defaultdict(list)

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it while it is among the top ones."""
        self.counts[finding.kind] += 1
        kept = self._kept[finding.kind]
        kept.append(finding)
        if len(kept) >= 4 * MOST_SHOWN:  # not each time: that would sort them over and over
            self._kept[finding.kind] = _top(kept)

    def counted(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Pass findings on and count each on its way."""
        for finding in findings:
            self.add(finding)
            yield finding

    def findings(self) -> tuple[Finding, ...]:
        """The top findings, by kind and then by descending value."""
        return tuple(finding for kind in sorted(self._kept) for finding in _top(self._kept[kind]))


def _top(findings: list[Finding]) -> list[Finding]:
    def order(finding: Finding) -> tuple[float, str, str]:
        return -finding.value, finding.clip, finding.other or ""

    return sorted(findings, key=order)[:MOST_SHOWN]
