"""Hygiene of a packed corpus, from top to bottom: what is looked for, and what follows.

`examine` finds; `dropped` says which clips a recipe takes out because of it; `write_report` leaves
`hygiene.json` and `hygiene.html` behind; `check` is the contract that stops a run on leaks.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.contract import ContractResult, validate
from data_contracts.hygiene import HYGIENE, LEAKS, Finding, HygieneReport, hygiene_frame
from data_contracts.records import EvaluationItem, PackedClip, Rejected, Split, Task
from infra.store import Store
from model.audio import SAMPLE_RATE
from tasks.context import StageContext
from tasks.hygiene import labels, page, pairs, spread
from tasks.hygiene.scan import Scan, scan_corpus

REPORT = "hygiene.json"
PAGE = "hygiene.html"


class HygieneRecipe(BaseModel):
    """What counts as the same recording or text, and what becomes of leaks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_leak: Literal["stop", "report", "drop"] = Field(
        "stop",
        description="a recording or held-out text in two splits stops the run, is only reported, "
        "or the clip nearer to training is rejected",
    )
    max_bit_error: float = Field(
        0.2,
        ge=0,
        le=0.5,
        description="share of differing fingerprint bits up to which waveforms are compared",
    )
    min_overlap: float = Field(
        0.5, gt=0, le=1, description="share of the shorter recording that both must hold"
    )
    min_correlation: float = Field(
        0.88, gt=0, le=1, description="waveforms that correlate as much are one recording"
    )
    held_out_text: tuple[Task, ...] = Field(
        ("asr", "s2tt", "voice_chat"),
        description="tasks of recorded speech whose sentences may be in one split only; digits, "
        "questions and commands of kind digit, question, command repeat theirs by design",
    )
    min_similarity: float = Field(
        0.75, gt=0, le=1, description="Jaccard similarity of 4-grams from which texts are shown"
    )


@dataclass(frozen=True)
class Hygiene:
    """What was heard and found."""

    scan: Scan
    findings: tuple[Finding, ...]
    proposed_pairs: int
    identifier: str


def examine(context: StageContext, recipe: HygieneRecipe, clips: Iterable[PackedClip]) -> Hygiene:
    """Look at every recording of a packed corpus and at its labels."""
    scan = scan_corpus(context, clips)
    proposed, same = pairs.same_recordings(
        context, scan, recipe.max_bit_error, recipe.min_overlap, recipe.min_correlation
    )
    texts = labels.shared_texts(scan.rows, recipe.held_out_text, recipe.min_similarity)
    languages, identifier = labels.strange_languages(scan.rows)
    findings = [*same, *texts, *languages, *spread.outliers(scan)]
    if recipe.on_leak == "report":
        findings = [
            found.model_copy(update={"kind": "tolerated_leak"}) if found.kind in LEAKS else found
            for found in findings
        ]
    leaks = sum(found.kind in LEAKS for found in findings)
    context.progress(f"hygiene: {leaks} leaks, {len(findings) - leaks} other findings")
    return Hygiene(scan, tuple(findings), proposed, identifier)


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
    """Leave the findings about the clips that stayed as JSON and as a page.

    A leak into a suite names it: the suites that ask about the clip or a composition of it.

    Args:
        leaks: the ids of the clips that were taken out.
        clips: those that stayed; gone through twice and never held.
    """
    asked = _suites_by_recording(clips, suites)
    rows = [row for row in hygiene.scan.rows if row.id not in leaks]
    findings = tuple(
        _name_suites(found, asked)
        for found in hygiene.findings
        if found.clip not in leaks and found.other not in leaks
    )
    report = HygieneReport(
        recordings=len(rows),
        seconds=round(sum(row.num_samples for row in rows) / SAMPLE_RATE, 1),
        compositions=sum(1 for _ in clips) - len(rows),
        clips_by=_count_by(rows),
        histograms=spread.histograms(hygiene.scan),
        findings=findings,
        proposed_pairs=hygiene.proposed_pairs,
        identifier=hygiene.identifier,
    )
    directory.write_text(REPORT, report.model_dump_json(indent=1))
    directory.write_text(PAGE, page.render(report))


def check(directory: Store) -> ContractResult:
    """The contract on leaks, of a corpus whose report is written."""
    report = HygieneReport.model_validate_json(directory.read_bytes(REPORT))
    return validate(HYGIENE, hygiene_frame(report.findings), "hygiene")


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
    return asked


def _name_suites(found: Finding, asked: Mapping[str, set[str]]) -> Finding:
    names = asked.get(found.other or "", set())
    if not names or found.kind not in LEAKS | {"tolerated_leak"}:
        return found
    return found.model_copy(
        update={"detail": f"{found.detail}, asked in {', '.join(sorted(names))}"}
    )


def _count_by(rows: Sequence[PackedClip]) -> dict[str, dict[str, dict[str, int]]]:
    counts: dict[str, Counter[tuple[str, Split]]] = defaultdict(Counter)
    for row in rows:
        counts["language"][row.language or "none", row.split] += 1
        counts["kind"][row.kind, row.split] += 1
        for task in row.targets:
            counts["task"][task, row.split] += 1
    return {
        title: {
            value: {split: found[value, split] for split in get_args(Split)}
            for value in sorted({value for value, _ in found})
        }
        for title, found in counts.items()
    }
