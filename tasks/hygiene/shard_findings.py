"""Findings about single recordings of a shard, once the whole corpus is known."""

from collections.abc import Iterator
from typing import NamedTuple

from data_contracts.hygiene import Finding
from data_contracts.jsonl import iter_jsonl
from data_contracts.records import PackedClip
from infra.storage.store import Store
from tasks.corpus.shards import ShardRows, write_rows
from tasks.hygiene.distributions import TypicalValues, outliers
from tasks.hygiene.language import Identifier, transcript, wrong_script
from tasks.hygiene.shard_features import ShardFeatures


class LanguageCounts(NamedTuple):
    """How often the language identifier agreed with the rows of a shard."""

    identified: int
    """Transcripts that were long enough to identify their language."""
    agreed: int
    """Those that were identified as the language of their row."""


def write_findings(
    shards: ShardRows, typical: TypicalValues, identifier: Identifier, number: int
) -> LanguageCounts:
    """Examine the recordings of shard `number`, each by itself, and write down the findings."""
    features = ShardFeatures.load(shards.directory, number)
    clips = list(shards.shard(number))
    rows = [clips[index] for index in features.positions]
    findings = list(outliers(features, rows, typical))
    identified = agreed = 0
    for row in rows:
        text = transcript(row)
        findings += _script(row, text)
        if text and row.language and (result := identifier.identify(text, row.language)):
            identified += 1
            agreed += result.language == row.language
            if result.is_suspicious:
                findings.append(
                    Finding(
                        kind="other_language",
                        clip=row.id,
                        detail=f"{text!r} looks like {result.language}, the language is "
                        f"{row.language}; {result.margin:.2f} nats a trigram",
                        value=round(result.margin, 3),
                    )
                )
    write_rows(shards.directory, _key(number), findings)
    return LanguageCounts(identified, agreed)


def read_findings(directory: Store, number: int) -> Iterator[Finding]:
    """Read what `write_findings` wrote about shard `number`."""
    key = _key(number)
    with directory.open(key) as stream:
        yield from iter_jsonl(stream, Finding, directory.path(key))


def _key(number: int) -> str:
    return f"scratch/findings-{number:05d}.jsonl"


def _script(row: PackedClip, text: str) -> Iterator[Finding]:
    if script := wrong_script(text, row.language):
        yield Finding(
            kind="wrong_script",
            clip=row.id,
            detail=f"most letters of {text!r} are {script.lower()}, the language is {row.language}",
            value=1.0,
        )
