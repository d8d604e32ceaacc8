"""What one shard's recordings are judged by, once the whole corpus is known."""

from collections.abc import Iterator
from dataclasses import dataclass

from data_contracts.hygiene import Finding
from data_contracts.records import PackedClip
from tasks.hygiene.heard import Heard
from tasks.hygiene.language import Identifier, transcript, wrong_script
from tasks.hygiene.spread import Usual, outliers
from tasks.shards import ShardRows


@dataclass(frozen=True)
class Judged:
    """Findings about the recordings of a shard, each by itself."""

    findings: tuple[Finding, ...]
    identified: int
    """Transcripts that were long enough to tell their language."""
    agreed: int
    """Those that were put into the language of their row."""


def judge(found: ShardRows, usual: Usual, identifier: Identifier, number: int) -> Judged:
    """Judge the recordings of shard `number`."""
    heard = Heard.load(found.directory, number)
    clips = list(found.shard(number))
    rows = [clips[place] for place in heard.places]
    findings = list(outliers(heard, rows, usual))
    identified = agreed = 0
    for row in rows:
        text = transcript(row)
        findings += _script(row, text)
        if text and row.language and (verdict := identifier.judge(text, row.language)):
            identified += 1
            agreed += verdict.language == row.language
            if verdict.is_strange:
                findings.append(
                    Finding(
                        kind="other_language",
                        clip=row.id,
                        detail=f"{text!r} looks like {verdict.language}, the language is "
                        f"{row.language}; {verdict.margin:.2f} nats a trigram",
                        value=round(verdict.margin, 3),
                    )
                )
    return Judged(tuple(findings), identified, agreed)


def _script(row: PackedClip, text: str) -> Iterator[Finding]:
    if script := wrong_script(text, row.language):
        yield Finding(
            kind="wrong_script",
            clip=row.id,
            detail=f"most letters of {text!r} are {script.lower()}, the language is {row.language}",
            value=1.0,
        )
