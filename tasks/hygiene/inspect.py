"""Hygiene of a packed corpus, from top to bottom: what is looked for, and what follows.

`examine` finds; `dropped` says which clips a recipe takes out because of it; `write_report` leaves
`hygiene.jsonl`, all findings, and `hygiene.json` and `hygiene.html`, the foremost, behind; `check`
is the contract that stops a run on leaks.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from data_contracts.contract_result import ContractResult
from data_contracts.digest import digest_of
from data_contracts.hygiene import (
    HYGIENE,
    LEAKS,
    Finding,
    Histogram,
    HygieneReport,
    hygiene_frame,
)
from data_contracts.recipe import Recipe
from data_contracts.records import EvaluationItem, PackedClip, Rejected, Split, TaskName
from data_contracts.validation import validate
from infra.storage.store import Store
from model.audio import SAMPLE_RATE
from tasks.context import StageContext
from tasks.corpus.shards import JsonLines, ShardRows, write_rows
from tasks.hygiene import audio_matches as pairs
from tasks.hygiene import page
from tasks.hygiene import text_matches as labels
from tasks.hygiene.corpus_features import Gathered
from tasks.hygiene.language import LEAST_LETTERS
from tasks.hygiene.shard_features import hear, is_heard
from tasks.hygiene.shard_findings import Identified, judge, judged
from tasks.hygiene.top_findings import Foremost

FINDINGS = "hygiene.jsonl"
REPORT = "hygiene.json"
PAGE = "hygiene.html"
_FOUND = "scratch/found.jsonl"
"""All findings, also those about clips that are taken out then."""


class HygieneRecipe(Recipe):
    """What counts as the same recording or text, and what becomes of leaks."""

    on_leak: Literal["stop", "report", "drop"] = "stop"
    """A recording or held-out text in two splits stops the run, is only reported, or the clip
    nearer to training is rejected."""
    max_bit_error: float = Field(0.2, ge=0, le=0.5)
    """Share of differing fingerprint bits up to which waveforms are compared."""
    min_overlap: float = Field(0.5, gt=0, le=1)
    """Share of the shorter recording that both must hold."""
    min_correlation: float = Field(0.88, gt=0, le=1)
    """Waveforms that correlate as much are one recording."""
    held_out_text: tuple[TaskName, ...] = ("asr", "s2tt", "voice_chat")
    """Tasks of recorded speech whose sentences may be in one split only; digits, questions and
    commands of kind digit, question, command repeat theirs by design."""
    min_similarity: float = Field(0.75, gt=0, le=1)
    """Jaccard similarity of 4-grams from which texts are shown."""

    def named(self, finding: Finding) -> Finding:
        """The finding by the name under which a leak stops the run or not."""
        if self.on_leak != "report" or finding.kind not in LEAKS:
            return finding
        return finding.model_copy(update={"kind": "tolerated_leak"})


@dataclass(frozen=True)
class Hygiene:
    """What was found."""

    findings: JsonLines[Finding]
    histograms: tuple[Histogram, ...]
    proposed_pairs: int
    identifier: str


def examine(context: StageContext, recipe: HygieneRecipe, found: ShardRows) -> Hygiene:
    """Look at every recording of a packed corpus and at its labels.

    Shard by shard in parallel, twice: what each holds, and then how that looks beside all others.
    What is compared with all lies on the local disk meanwhile, about 1 KB for each second of
    audio; what is found goes into a file.
    """
    directory, numbers = context.directory, range(found.num_shards)
    unheard = (number for number in numbers if not is_heard(directory, number))
    for _ in context.compute.map(partial(hear, found, recipe.held_out_text), unheard):
        pass
    foremost = Foremost()
    with _empty_folder(context.scratch / f"hygiene-{digest_of(directory.url)}") as folder:
        gathered = Gathered(found, folder)
        proposed = pairs.compare(
            context,
            gathered,
            folder,
            recipe.max_bit_error,
            recipe.min_overlap,
            recipe.min_correlation,
        )
        judging = partial(judge, found, gathered.spread.usual(), gathered.identifier)
        identified = [*context.compute.map(judging, numbers)]
        rows = gathered.recordings
        everything = chain(
            pairs.same_recordings(gathered.families, rows),
            labels.shared_texts(gathered.texts, rows, folder, recipe.min_similarity),
            chain.from_iterable(judged(directory, number) for number in numbers),
        )
        write_rows(directory, _FOUND, _counted(map(recipe.named, everything), foremost))
    leaks = sum(foremost.counts[kind] for kind in LEAKS)
    context.progress(f"hygiene: {leaks} leaks, {foremost.counts.total() - leaks} other findings")
    return Hygiene(
        JsonLines(directory, _FOUND, Finding),
        gathered.spread.histograms(),
        proposed,
        _known(gathered.identifier.languages, identified),
    )


def _counted(findings: Iterable[Finding], foremost: Foremost) -> Iterator[Finding]:
    """The same findings, counted on their way."""
    for finding in findings:
        foremost.add(finding)
        yield finding


@contextmanager
def _empty_folder(path: Path) -> Iterator[Path]:
    """A folder for the time of a block; what a killed run left there is deleted first."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def dropped(hygiene: Hygiene, recipe: HygieneRecipe, clips: Iterable[PackedClip]) -> list[Rejected]:
    """The clips to take out: of each leak the one nearer to training, and what is made of it."""
    if recipe.on_leak != "drop":
        return []
    leaks = {found.clip: found.detail for found in hygiene.findings if found.kind in LEAKS}
    return [
        Rejected(id=clip.id, reason="leak", detail=f"{part}: {leaks[part]}")
        for clip in clips
        if (part := next((part for part in clip.origin if part in leaks), None))
    ]


def write_report(
    directory: Store,
    hygiene: Hygiene,
    leaks: Collection[str],
    clips: Iterable[PackedClip],
    suites: Mapping[str, Sequence[EvaluationItem]],
) -> None:
    """Leave the findings about the clips that stayed: all, and the foremost as JSON and as a page.

    A leak into a suite names it: the suites that ask about the clip or a composition of it.

    Args:
        leaks: the ids of the clips that were taken out.
        clips: those that stayed; gone through some times and never held.
    """
    asked = _suites_by_recording(clips, suites)
    census, foremost = _Census(), Foremost()
    for clip in clips:
        census.count(clip)
    stayed = (
        _name_suites(found, asked)
        for found in hygiene.findings
        if found.clip not in leaks and found.other not in leaks
    )
    write_rows(directory, FINDINGS, _counted(stayed, foremost))
    report = HygieneReport(
        recordings=census.recordings,
        seconds=round(census.samples / SAMPLE_RATE, 1),
        compositions=census.compositions,
        clips_by=census.clips_by(),
        histograms=hygiene.histograms,
        counts=dict(foremost.counts),
        findings=foremost.findings(),
        proposed_pairs=hygiene.proposed_pairs,
        identifier=hygiene.identifier,
    )
    directory.write_text(REPORT, report.model_dump_json(indent=1))
    directory.write_text(PAGE, page.render(report))


def check(directory: Store) -> ContractResult:
    """The contract on leaks, of a corpus whose report is written."""
    findings = JsonLines(directory, FINDINGS, Finding)
    return validate(HYGIENE, hygiene_frame(findings), "hygiene")


def _suites_by_recording(
    clips: Iterable[PackedClip], suites: Mapping[str, Sequence[EvaluationItem]]
) -> Mapping[str, set[str]]:
    names: dict[str, set[str]] = defaultdict(set)
    for name, items in suites.items():
        for item in items:
            for clip_id in item.conversation.clip_ids:
                names[clip_id].add(name)
    asked: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        for part in clip.origin if clip.id in names else ():
            asked[part] |= names[clip.id]
    # Of clips that are the same recording, such as two captions of one, a leak names any.
    same: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.id in asked:
            same[clip.sha256] |= asked[clip.id]
    return asked | {clip.id: same[clip.sha256] for clip in clips if clip.sha256 in same}


def _name_suites(found: Finding, asked: Mapping[str, set[str]]) -> Finding:
    names = asked.get(found.other or "", set())
    if not names or found.kind not in LEAKS | {"tolerated_leak", "shared_question"}:
        return found
    return found.model_copy(
        update={"detail": f"{found.detail}, asked in {', '.join(sorted(names))}"}
    )


def _known(languages: Sequence[str], judgements: Sequence[Identified]) -> str:
    identified = sum(each.identified for each in judgements)
    agreed = sum(each.agreed for each in judgements)
    share = f"{agreed / identified:.1%}" if identified else "none"
    return (
        f"character trigrams of {', '.join(languages) or 'no language'}: of {identified} "
        f"transcripts of at least {LEAST_LETTERS} letters {share} were put into the language of "
        "their row"
    )


class _Census:
    """What a corpus consists of, counted clip by clip."""

    def __init__(self) -> None:
        self.recordings = self.compositions = self.samples = 0
        self._counts: dict[str, Counter[tuple[str, Split]]] = defaultdict(Counter)

    def count(self, clip: PackedClip) -> None:
        """Count a clip."""
        if clip.origin != (clip.id,):
            self.compositions += 1
            return
        self.recordings += 1
        self.samples += clip.num_samples
        self._counts["language"][clip.language or "none", clip.split] += 1
        self._counts["kind"][clip.kind, clip.split] += 1
        for task in clip.targets:
            self._counts["task"][task, clip.split] += 1

    def clips_by(self) -> dict[str, dict[str, dict[str, int]]]:
        """Recordings by language, kind and task, and there by value and split."""
        return {
            title: {
                value: {split: found[value, split] for split in get_args(Split)}
                for value in sorted({value for value, _ in found})
            }
            for title, found in self._counts.items()
        }
