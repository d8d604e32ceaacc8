"""What one shard's recordings are judged by, once the whole corpus is known."""

from collections.abc import Iterator
from typing import NamedTuple

from data_contracts.hygiene import Finding
from data_contracts.jsonl import iter_jsonl
from data_contracts.records import PackedClip
from infra.storage.store import Store
from tasks.corpus.shards import ShardRows, write_rows
from tasks.hygiene.distributions import Usual, outliers
from tasks.hygiene.language import Identifier, transcript, wrong_script
from tasks.hygiene.shard_features import Heard


class Identified(NamedTuple):
    """What the language identifier made of a shard."""

    identified: int
    """Transcripts that were long enough to tell their language."""
    agreed: int
    """Those that were put into the language of their row."""


def judge(found: ShardRows, usual: Usual, identifier: Identifier, number: int) -> Identified:
    """Judge the recordings of shard `number`, each by itself; the findings go into a file."""
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
    write_rows(found.directory, _key(number), findings)
    return Identified(identified, agreed)


def judged(directory: Store, number: int) -> Iterator[Finding]:
    """What `judge` found in shard `number`."""
    key = _key(number)
    with directory.open(key) as stream:
        yield from iter_jsonl(stream, Finding, directory.path(key))


def _key(number: int) -> str:
    return f"scratch/judged-{number:05d}.jsonl"


def _script(row: PackedClip, text: str) -> Iterator[Finding]:
    if script := wrong_script(text, row.language):
        yield Finding(
            kind="wrong_script",
            clip=row.id,
            detail=f"most letters of {text!r} are {script.lower()}, the language is {row.language}",
            value=1.0,
        )
