"""All findings of a corpus are lines of a file; counts and the foremost of each kind are held."""

from collections import Counter, defaultdict

from data_contracts.hygiene import Finding, FindingKind

MOST_SHOWN = 25
"""Findings of a kind in the report; the file has all."""


class Foremost:
    """How many findings of each kind there are, and those whose measure is the largest."""

    def __init__(self) -> None:
        self.counts: Counter[FindingKind] = Counter()
        self._kept: dict[FindingKind, list[Finding]] = defaultdict(list)

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it, perhaps."""
        self.counts[finding.kind] += 1
        kept = self._kept[finding.kind]
        kept.append(finding)
        if len(kept) >= 4 * MOST_SHOWN:  # not each time: that would sort them over and over
            self._kept[finding.kind] = _first(kept)

    def findings(self) -> tuple[Finding, ...]:
        """By kind; those of a kind in the order of their measure."""
        return tuple(each for kind in sorted(self._kept) for each in _first(self._kept[kind]))


def _first(findings: list[Finding]) -> list[Finding]:
    ordered = sorted(findings, key=lambda each: (-each.value, each.clip, each.other or ""))
    return ordered[:MOST_SHOWN]
