"""Stage 1: recordings in, WebDataset shards, dialogues, prompts and suites out.

Every manifest record ends in exactly one of two places: the shard index, or `rejected.jsonl` with
its reason; the counts are checked. Shards are planned before any work, so a run that was killed
continues with the shards that are missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from data_contracts import suites as contracts
from data_contracts import tables
from data_contracts.contract import ContractResult, validate
from data_contracts.digest import digest_of_bytes
from data_contracts.records import (
    Clip,
    Conversation,
    EvaluationItem,
    LongAudio,
    LongAudioPolicy,
    PackedClip,
    Record,
    Rejected,
    from_jsonl,
    to_jsonl,
)
from infra.store import Store
from model.audio import MAX_SECONDS, SAMPLE_RATE
from tasks.compose import ComposeRecipe, Composition, plain, plan_compositions
from tasks.context import StageContext, StageResult
from tasks.decode import DecodeError, check_clip, decode, read_audio
from tasks.dialogues import DialogueRecipe, make_dialogues, make_preference_prompts
from tasks.hygiene import inspection
from tasks.long_audio import Kept, LengthRule
from tasks.manifest import DataSource, Manifest, read_source
from tasks.prompts import held_out_fragments
from tasks.shards import MadeClip, read_index, rows_key, shard_key, write_index, write_shard
from tasks.suites import SuiteRecipe, make_suites

DIALOGUES = "dialogues.jsonl"
PROMPTS = "prompts.jsonl"
REJECTED = "rejected.jsonl"
LONG_AUDIO = "corpus/long_audio.json"
"""The policy that the corpus was packed with, and what it cut."""


class IngestRecipe(BaseModel):
    """What changes the packed bytes, the dialogues or the suites."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clips_per_shard: int = Field(500, ge=1, description="clips in a shard")
    max_rejected_share: float = Field(
        0.05, ge=0, le=1, description="share of manifest records that may be rejected"
    )
    long_audio: LongAudioPolicy = Field(
        "reject", description="what becomes of recordings over 30 s: tasks/long_audio.py"
    )
    max_seconds: float = Field(
        120.0,
        ge=MAX_SECONDS,
        description="longest recording that `windows` packs: 25 audio tokens a second, of all "
        "clips of a dialogue together, must fit into the sequence that the model reads",
    )
    compose: ComposeRecipe = ComposeRecipe()
    dialogues: DialogueRecipe = DialogueRecipe()
    suites: SuiteRecipe = SuiteRecipe()
    hygiene: inspection.HygieneRecipe = inspection.HygieneRecipe()


class TooManyRejectedError(ValueError):
    """More of the manifest was rejected than the recipe allows."""


class ShardRows(Record):
    """What became of the records of one shard."""

    packed: tuple[PackedClip, ...]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True)
class ShardJob:
    """The work of one Ray task."""

    number: int
    compositions: tuple[Composition, ...]


def run(context: StageContext, recipe: IngestRecipe, source: DataSource) -> StageResult:
    """Pack all recordings of `source` and derive dialogues, prompts and suites.

    Raises:
        TooManyRejectedError: with the counts by reason; `rejected.jsonl` is there to read.
    """
    manifest = read_source(source)
    planned = [plain(clip) for clip in manifest.clips]
    planned += plan_compositions(manifest.clips, recipe.compose)
    jobs = plan_shards(planned, recipe.clips_per_shard)
    rule = LengthRule(recipe.long_audio, recipe.max_seconds)
    finished = pack(context, jobs, rule)
    packed = [row for rows in finished for row in rows.packed]
    rejected = [*manifest.rejected, *(row for rows in finished for row in rows.rejected)]
    composed = {made.clip.id for made in planned[len(manifest.clips) :]}
    records_in = len(planned) + len(manifest.rejected)
    if records_in != len(packed) + len(rejected):
        raise AssertionError(f"{records_in} in, {len(packed)} packed + {len(rejected)} rejected")
    hygiene = inspection.examine(context, recipe.hygiene, packed)
    leaks = inspection.dropped(hygiene, recipe.hygiene, packed)
    rejected += leaks
    out = {row.id for row in leaks}
    packed = [row for row in packed if row.id not in out]
    directory = context.directory
    directory.write_text(REJECTED, to_jsonl(rejected))
    refused = [row for row in rejected if row.id not in composed]
    _refuse_too_many(manifest, refused, recipe.max_rejected_share, directory.path(REJECTED))
    dialogues = make_dialogues(packed, recipe.dialogues)
    directory.write_text(DIALOGUES, to_jsonl(dialogues))
    directory.write_text(PROMPTS, to_jsonl(make_preference_prompts(dialogues, recipe.dialogues)))
    suites = make_suites(packed, dialogues, recipe.suites)
    for name, items in suites.items():
        directory.write_text(f"suites/{name}.jsonl", to_jsonl(items))
    long_audio = rule.summary(packed)
    if long_audio.cut_clips:
        context.progress(f"{long_audio.cut_clips} clips cut, by {long_audio.cut_seconds:.1f} s")
    directory.write_text(LONG_AUDIO, long_audio.model_dump_json())
    inspection.write_report(directory, hygiene, packed, suites)
    write_index(directory, packed)
    metrics = long_audio.model_dump(include={"long_clips", "cut_clips", "cut_seconds"})
    return StageResult(records_in, len(packed), len(rejected), metrics)


def plan_shards(planned: Sequence[Composition], clips_per_shard: int) -> list[ShardJob]:
    """Cut the planned clips into shards, in their order."""
    starts = range(0, len(planned), clips_per_shard)
    return [
        ShardJob(number, tuple(planned[start : start + clips_per_shard]))
        for number, start in enumerate(starts)
    ]


def pack(context: StageContext, jobs: Sequence[ShardJob], rule: LengthRule) -> list[ShardRows]:
    """Write the shards that are not there yet, in parallel; returns the rows of all, in order."""
    directory = context.directory
    missing = [
        job
        for job in jobs
        if not (directory.exists(rows_key(job.number)) and directory.exists(shard_key(job.number)))
    ]
    done = len(jobs) - len(missing)
    for number in context.compute.map(partial(pack_shard, directory, rule), missing):
        done += 1
        context.progress(f"shard {number} written, {done} of {len(jobs)}")
    return [
        ShardRows.model_validate_json(directory.read_bytes(rows_key(job.number))) for job in jobs
    ]


def pack_shard(directory: Store, rule: LengthRule, job: ShardJob) -> int:
    """Make the clips of one shard and write it, then its rows; returns the shard's number."""
    rejected = []

    def usable() -> Iterator[MadeClip]:
        for composition in job.compositions:
            clip = composition.clip
            try:
                kept = make_waveform(composition, rule)
            except DecodeError as error:
                rejected.append(Rejected(id=clip.id, reason=error.reason, detail=error.detail))
                continue
            yield MadeClip(clip, *kept, tuple(part.id for part in composition.parts))

    packed = tuple(write_shard(directory, job.number, usable()))
    rows = ShardRows(packed=packed, rejected=tuple(rejected))
    directory.write_text(rows_key(job.number), rows.model_dump_json())
    return job.number


def make_waveform(composition: Composition, rule: LengthRule) -> Kept:
    """The waveform of a recording or a composition; what was cut of its parts counts as its own.

    Raises:
        DecodeError: the clip or a part of it can't be used; the reason is the part's, and the
            detail names the part.
    """
    parts = []
    for part in composition.parts:
        try:
            parts.append(_read_part(part, rule))
        except DecodeError as error:
            if part.id == composition.clip.id:
                raise
            raise DecodeError(error.reason, f"part {part.id!r}: {error.detail}") from error
    combined = composition.combine([part.waveform for part in parts])
    kept = rule.keep(combined, len(combined) / SAMPLE_RATE, composition.clip)
    check_clip(kept.waveform, composition.clip.id)
    return Kept(kept.waveform, kept.cut_seconds + sum(part.cut_seconds for part in parts))


def _read_part(part: Clip, rule: LengthRule) -> Kept:
    data = read_audio(part.audio, part.begin_byte, part.num_bytes)
    if part.sha256 is not None and (found := digest_of_bytes(data)) != part.sha256:
        detail = f"{part.audio} has sha256 {found[:12]}..., the manifest says {part.sha256[:12]}..."
        raise DecodeError("digest_differs", detail)
    span = (part.begin_seconds, part.end_seconds)
    recording = decode(data, part.audio, rule.max_seconds, *span)
    return rule.keep(recording.waveform, recording.seconds, part)


def check_source(source: DataSource) -> list[ContractResult]:
    """The contract of the manifest, before anything is decoded."""
    return [
        validate(contracts.MANIFEST, tables.manifest_frame(read_source(source).clips), "manifest")
    ]


def check(directory: Store) -> list[ContractResult]:
    """The contracts of the corpus and of everything derived from it."""
    index = read_index(directory)
    known = {row.id for row in index}
    long_audio = LongAudio.model_validate_json(directory.read_bytes(LONG_AUDIO))
    frame = tables.shard_index_frame(index, long_audio.max_seconds)
    results = [validate(contracts.SHARD_INDEX, frame, "shard index")]
    for name, conversations in (
        ("dialogues", read_conversations(directory, DIALOGUES)),
        ("prompts", read_conversations(directory, PROMPTS)),
    ):
        if conversations:
            frame = tables.dialogues_frame(conversations, known, held_out_fragments())
            results.append(validate(contracts.DIALOGUES, frame, name))
    return [*results, inspection.check(directory)]


def read_conversations(directory: Store, key: str) -> list[Conversation]:
    """The dialogues or prompts of an ingested corpus."""
    return from_jsonl(directory.read_text(key), Conversation, directory.path(key))


def read_suites(directory: Store) -> Iterator[tuple[str, list[EvaluationItem]]]:
    """The evaluation suites of an ingested corpus, by name."""
    for key in directory.list_keys("suites"):
        name = key.removeprefix("suites/").removesuffix(".jsonl")
        yield name, from_jsonl(directory.read_text(key), EvaluationItem, directory.path(key))


def _refuse_too_many(
    manifest: Manifest, rejected: Sequence[Rejected], allowed: float, where: str
) -> None:
    """Measure what came in; a composition is rejected as a consequence, and only listed."""
    share = len(rejected) / manifest.num_records
    if share <= allowed:
        return
    reasons: dict[str, list[Rejected]] = {}
    for row in rejected:
        reasons.setdefault(row.reason, []).append(row)
    lines = [
        f"  {reason}: {len(rows)}, e.g. {rows[0].id}: {rows[0].detail}"
        for reason, rows in sorted(reasons.items())
    ]
    raise TooManyRejectedError(
        f"{len(rejected)} of {manifest.num_records} records were rejected ({share:.1%}); "
        f"ingest.max_rejected_share allows {allowed:.1%}:\n" + "\n".join(lines) + f"\n"
        f"All of them are in {where}. Repair the manifest, or raise the allowed share."
    )
