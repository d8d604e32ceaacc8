"""Hygiene of a packed corpus, from top to bottom: the search for findings and what follows.

`examine` finds; `dropped` lists the clips that the recipe takes out because of it; `write_report`
writes all findings to `hygiene.jsonl` and the top ones to `hygiene.json` and `hygiene.html`;
`check` is the contract that stops a run on leaks.
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

from pydantic import Field, field_validator

from data_contracts.answer_records import EvaluationItem
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
from data_contracts.records import PackedClip, Rejected, Split, TaskName
from data_contracts.validation import validate
from infra.storage.store import Store
from infra.time_left import reported
from model.audio import SAMPLE_RATE
from tasks.context import StageContext
from tasks.corpus.shards import JsonLines, ShardRows, write_rows
from tasks.hygiene import page
from tasks.hygiene.audio_matches import audio_findings, compare_audio
from tasks.hygiene.corpus_features import CorpusFeatures
from tasks.hygiene.language import LEAST_LETTERS
from tasks.hygiene.shard_features import extract_features, has_features
from tasks.hygiene.shard_findings import LanguageCounts, read_findings, write_findings
from tasks.hygiene.text import HELD_OUT_TASKS
from tasks.hygiene.text_matches import shared_texts
from tasks.hygiene.top_findings import TopFindings

FINDINGS = "hygiene.jsonl"
REPORT = "hygiene.json"
PAGE = "hygiene.html"
_ALL_FINDINGS = "scratch/findings.jsonl"
"""Also those about clips that are taken out afterwards."""


class HygieneRecipe(Recipe):
    """What counts as the same recording or text, and what happens on leaks."""

    on_leak: Literal["stop", "report", "drop"] = "stop"
    """What a recording or held-out text in two splits does: stop the run, be reported only, or have
    the clip nearer to training rejected."""
    max_bit_error: float = Field(0.2, ge=0, le=0.5)
    """Share of differing fingerprint bits up to which waveforms are compared."""
    min_overlap: float = Field(0.5, gt=0, le=1)
    """Share of the shorter recording that must overlap."""
    min_correlation: float = Field(0.88, gt=0, le=1)
    """Correlation from which two waveforms count as the same recording."""
    held_out_text: tuple[TaskName, ...] = HELD_OUT_TASKS
    """Tasks of recorded speech whose sentences may be in one split only; digits, questions and
    commands of kind digit, question, command repeat theirs by design."""
    min_similarity: float = Field(0.75, gt=0, le=1)
    """Jaccard similarity of 4-grams from which a pair of texts is a finding."""

    @field_validator("held_out_text")
    @classmethod
    def _have_sentences(cls, tasks: tuple[TaskName, ...]) -> tuple[TaskName, ...]:
        if unknown := sorted(set(tasks) - set(HELD_OUT_TASKS)):
            raise ValueError(
                f"{unknown} has no sentences that are compared: use some of "
                f"{', '.join(HELD_OUT_TASKS)}"
            )
        return tasks

    def classified(self, finding: Finding) -> Finding:
        """Rename a leak to `tolerated_leak` where the recipe only reports leaks."""
        if self.on_leak != "report" or finding.kind not in LEAKS:
            return finding
        return finding.model_copy(update={"kind": "tolerated_leak"})


@dataclass(frozen=True)
class Hygiene:
    """Result of the search, before clips are taken out."""

    findings: JsonLines[Finding]
    histograms: tuple[Histogram, ...]
    proposed_pairs: int
    identifier: str


def examine(context: StageContext, recipe: HygieneRecipe, shards: ShardRows) -> Hygiene:
    """Examine every recording of a packed corpus and its labels.

    Shards are visited twice, in parallel: first for the features of each, then to compare these
    with the whole corpus. Meanwhile features lie on the local disk, about 1 KB for each second of
    audio; findings go into a file.
    """
    directory, numbers = context.directory, range(shards.num_shards)
    missing = [n for n in numbers if not has_features(directory, context.progress, n)]
    made = context.compute.map(partial(extract_features, shards, recipe.held_out_text), missing)
    then = "recordings are compared"
    for _ in reported(made, len(missing), "features of shards", then, context.progress):
        pass
    top = TopFindings()
    with _empty_folder(context.scratch / f"hygiene-{digest_of(directory.url)}") as folder:
        features = CorpusFeatures(shards, folder)
        num_proposed = compare_audio(
            context,
            features,
            folder,
            recipe.max_bit_error,
            recipe.min_overlap,
            recipe.min_correlation,
        )
        typical = features.distributions.typical()
        task = partial(write_findings, shards, typical, features.identifier)
        counts, then = context.compute.map(task, numbers), "texts are compared"
        language_counts = [
            *reported(counts, len(numbers), "findings in shards", then, context.progress)
        ]
        rows = features.recordings
        findings = chain(
            audio_findings(features.families, rows),
            shared_texts(features.texts, rows, folder, recipe.min_similarity),
            chain.from_iterable(read_findings(directory, number) for number in numbers),
        )
        write_rows(directory, _ALL_FINDINGS, top.counted(map(recipe.classified, findings)))
    num_leaks = sum(top.counts[kind] for kind in LEAKS)
    context.progress(f"hygiene: {num_leaks} leaks, {top.counts.total() - num_leaks} other findings")
    return Hygiene(
        JsonLines(directory, _ALL_FINDINGS, Finding),
        features.distributions.histograms(),
        num_proposed,
        _identifier_summary(features.identifier.languages, language_counts),
    )


@contextmanager
def _empty_folder(path: Path) -> Iterator[Path]:
    """Create a folder for the time of a block; leftovers of a killed run are deleted first."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def dropped(hygiene: Hygiene, recipe: HygieneRecipe, clips: Iterable[PackedClip]) -> list[Rejected]:
    """List the clips to take out: the one of each leak nearer to training, and its compositions."""
    if recipe.on_leak != "drop":
        return []
    leaks = {leak.clip: leak.detail for leak in hygiene.findings if leak.kind in LEAKS}
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
    """Write the findings about the remaining clips: all, and the top ones as JSON and as a page.

    A leak into suites names them: those that ask about the clip or a composition of it.

    Args:
        leaks: ids of the clips that were taken out.
        clips: the remaining ones; iterated several times and never held.
    """
    suites_of = _suites_by_recording(clips, suites)
    census, top = _Census(), TopFindings()
    for clip in clips:
        census.count(clip)
    remaining = (
        _name_suites(finding, suites_of)
        for finding in hygiene.findings
        if finding.clip not in leaks and finding.other not in leaks
    )
    write_rows(directory, FINDINGS, top.counted(remaining))
    report = HygieneReport(
        recordings=census.recordings,
        seconds=round(census.samples / SAMPLE_RATE, 1),
        compositions=census.compositions,
        clips_by=census.clips_by(),
        histograms=hygiene.histograms,
        counts=dict(top.counts),
        findings=top.findings(),
        proposed_pairs=hygiene.proposed_pairs,
        identifier=hygiene.identifier,
    )
    directory.write_text(REPORT, report.model_dump_json(indent=1))
    directory.write_text(PAGE, page.render(report))


def check(directory: Store) -> ContractResult:
    """Validate the contract on leaks for a corpus whose report is written."""
    findings = JsonLines(directory, FINDINGS, Finding)
    return validate(HYGIENE, hygiene_frame(findings), "hygiene")


def _suites_by_recording(
    clips: Iterable[PackedClip], suites: Mapping[str, Sequence[EvaluationItem]]
) -> Mapping[str, set[str]]:
    """Names of the suites that ask about each recording, alone or in a composition."""
    names: dict[str, set[str]] = defaultdict(set)
    for name, items in suites.items():
        for item in items:
            for clip_id in item.conversation.clip_ids:
                names[clip_id].add(name)
    asked: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        for part in clip.origin if clip.id in names else ():
            asked[part] |= names[clip.id]
    # A leak names any of the clips of one recording, such as two captions of it.
    same: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.id in asked:
            same[clip.sha256] |= asked[clip.id]
    return asked | {clip.id: same[clip.sha256] for clip in clips if clip.sha256 in same}


def _name_suites(finding: Finding, suites_of: Mapping[str, set[str]]) -> Finding:
    names = suites_of.get(finding.other or "", set())
    if not names or finding.kind not in LEAKS | {"tolerated_leak", "shared_question"}:
        return finding
    detail = f"{finding.detail}, asked in {', '.join(sorted(names))}"
    return finding.model_copy(update={"detail": detail})


def _identifier_summary(languages: Sequence[str], counts: Sequence[LanguageCounts]) -> str:
    identified = sum(shard.identified for shard in counts)
    agreed = sum(shard.agreed for shard in counts)
    share = f"{agreed / identified:.1%}" if identified else "none"
    return (
        f"character trigrams of {', '.join(languages) or 'no language'}: of {identified} "
        f"transcripts of at least {LEAST_LETTERS} letters {share} were put into the language of "
        "their row"
    )


class _Census:
    """Composition of a corpus, counted clip by clip."""

    def __init__(self) -> None:
        self.recordings = self.compositions = self.samples = 0
        self._counts: dict[str, Counter[tuple[str, Split]]] = defaultdict(Counter)

    def count(self, clip: PackedClip) -> None:
        """Count a clip, as a recording or as a composition."""
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
        """Count recordings by language, kind and task, then by value and split."""
        return {
            title: {
                value: {split: counts[value, split] for split in get_args(Split)}
                for value in sorted({value for value, _ in counts})
            }
            for title, counts in self._counts.items()
        }
