"""Stage 1: recordings in, WebDataset shards, dialogues, prompts and suites out.

Every manifest record ends either in the shard index or, with its reason, in `rejected.jsonl`; the
counts are checked. Which rows a shard holds follows from the source alone, so a
run that was killed continues with the missing shards, and a damaged shard is made again alone.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import chain

from pydantic import Field

from data_contracts import clip_tables
from data_contracts import conversation_contracts as contracts
from data_contracts import conversation_tables as tables
from data_contracts.clip_contracts import MANIFEST, SHARD_INDEX
from data_contracts.contract_result import ContractResult
from data_contracts.errors import DataError
from data_contracts.recipe import Recipe
from data_contracts.records import Clip, Conversation, LongAudio, LongAudioPolicy, Rejected
from data_contracts.validation import validate, validate_slices
from infra.storage.store import Store
from model.audio import MAX_SECONDS
from tasks.context import StageContext, StageResult
from tasks.conversations.dialogues import DialogueRecipe, make_dialogues, make_preference_prompts
from tasks.conversations.given import given_pair, preferred
from tasks.conversations.prompts import check_held_out, held_out_fragments
from tasks.conversations.suites import SuiteRecipe, make_suites
from tasks.corpus.artifact import DIALOGUES, PROMPTS, TASKS, read_conversations, read_tasks
from tasks.corpus.compose import ComposeRecipe, plain, plan_compositions
from tasks.corpus.contents import CONTENTS, CorpusContents, count_clips, count_conversations
from tasks.corpus.counted import Counted
from tasks.corpus.index import CorpusIndex
from tasks.corpus.packing import Packing, pack, plan_shards
from tasks.corpus.pairs import PAIRS, read_pairs
from tasks.corpus.shards import SHARDS, JsonLines, ShardRows, iter_index, write_index, write_rows
from tasks.corpus.torn import torn_conversations
from tasks.evaluation.metrics.table import check_metrics
from tasks.hygiene import inspect as inspection
from tasks.recordings.codec import Codec
from tasks.recordings.levels import LevelRecipe
from tasks.recordings.long_audio import LengthRule
from tasks.sources.manifest import (
    DataSource,
    iter_source,
    source_roots,
    source_splits,
    source_tasks,
)

REJECTED = "rejected.jsonl"
SPLITS = "corpus/splits.json"
"""How the splits were made, where no row of the source names one."""
LONG_AUDIO = "corpus/long_audio.json"
"""The policy that the corpus was packed with, and what it cut."""


class IngestRecipe(Recipe):
    """Everything that changes the packed bytes, the dialogues or the suites."""

    clips_per_shard: int = Field(500, ge=1)
    """Most clips of a shard."""
    max_rejected_share: float = Field(0.05, ge=0, le=1)
    """Largest share of manifest records that may be rejected."""
    long_audio: LongAudioPolicy = "reject"
    """Treatment of recordings over 30 s: tasks/recordings/long_audio.py."""
    max_seconds: float = Field(120.0, ge=MAX_SECONDS)
    """Longest recording that `windows` packs, seconds. The audio tokens of a dialogue, 25 a second
    of all its clips, must fit into the sequence that the model reads."""
    codec: Codec = "flac"
    """Format of the clips: `opus` loses what is not heard, and most of the size."""
    levels: LevelRecipe = LevelRecipe()
    """Levels below which a recording is rejected."""
    compose: ComposeRecipe = ComposeRecipe()
    """Clips that are made of several recordings."""
    dialogues: DialogueRecipe = DialogueRecipe()
    """Dialogues and preference prompts that are made of the clips."""
    suites: SuiteRecipe = SuiteRecipe()
    """Evaluation suites that are made of the test split."""
    hygiene: inspection.HygieneRecipe = inspection.HygieneRecipe()
    """Search for duplicates, leaks between splits and odd clips."""


class TooManyRejectedError(DataError, ValueError):
    """More of the manifest was rejected than the recipe allows."""


def run(context: StageContext, recipe: IngestRecipe, source: DataSource) -> StageResult:
    """Pack all recordings of `source` and derive dialogues, prompts and suites.

    Rows are streamed from the source into shards and from the shards into all that is derived.

    Raises:
        TooManyRejectedError: with the counts by reason; `rejected.jsonl` lists all.
        TaskError: a task is declared wrongly, or named in the recipe and not declared.
    """
    directory, tasks = context.directory, source_tasks(source)
    check_metrics(tasks)
    tasks.require(recipe.dialogues.limits, "ingest.dialogues.limits")
    check_held_out(tasks, recipe.suites.asked_with)
    if made := source_splits(source):
        context.progress(str(made.summary))
        directory.write_text(SPLITS, made.summary.model_dump_json())
    rule = LengthRule(recipe.long_audio, recipe.max_seconds, tasks.about_the_whole)
    clips = Counted(clips_of(source))
    composed = plan_compositions(clips, tasks, recipe.compose)
    num_shards = -(-(clips.count + len(composed)) // recipe.clips_per_shard)
    planned = chain(map(plain, clips_of(source)), composed)
    jobs = plan_shards(planned, recipe.clips_per_shard)
    packing = Packing(rule, recipe.codec, recipe.levels)
    summaries = pack(context, jobs, num_shards, packing, source_roots(source))
    rows = ShardRows(directory, len(summaries))
    hygiene = inspection.examine(context, recipe.hygiene, rows)
    dropped = inspection.dropped(hygiene, recipe.hygiene, rows)
    dropped += torn_conversations(rows, chain(rows.rejected(), dropped))
    packed = replace(rows, without=frozenset(row.id for row in dropped))
    num_packed = sum(summary.clips for summary in summaries) - len(dropped)

    tally = RejectedTally({made.clip.id for made in composed})
    invalid = (row for row in iter_source(source) if isinstance(row, Rejected))
    write_rows(directory, REJECTED, tally.counted(chain(invalid, packed.rejected(), dropped)))
    records_in = num_packed + tally.num_rejected
    tally.refuse_too_many(
        records_in - len(composed), recipe.max_rejected_share, directory.path(REJECTED)
    )
    context.progress("making dialogues, prompts, suites and the index of clips")
    write_rows(directory, DIALOGUES, make_dialogues(packed, tasks, recipe.dialogues))
    dialogues = JsonLines(directory, DIALOGUES, Conversation)
    prompts = make_preference_prompts(dialogues, recipe.dialogues)
    write_rows(directory, PROMPTS, prompts)
    if not prompts and any(recipe.dialogues.prompts.values()):
        context.progress("no prompt to collect preferences on: no dialogue has one exchange")
    suites = make_suites(packed, dialogues, tasks, recipe.suites)
    for name, items in suites.items():
        write_rows(directory, f"suites/{name}.jsonl", items)
    completions, pairs = count_clips(packed, tasks.asked_in_words)
    if pairs:
        given = (given_pair(row) for row in packed if row.rejected is not None)
        write_rows(directory, PAIRS, given)
    contents = CorpusContents(
        completions=completions,
        dialogues=count_conversations(dialogues),
        prompts=count_conversations(prompts),
        pairs=pairs,
        suites={name: len(items) for name, items in suites.items()},
    )
    directory.write_text(CONTENTS, contents.model_dump_json(indent=1))
    long_audio = rule.summary(packed)
    if long_audio.cut_clips:
        context.progress(f"{long_audio.cut_clips} clips cut, by {long_audio.cut_seconds:.1f} s")
    directory.write_text(LONG_AUDIO, long_audio.model_dump_json())
    directory.write_text(TASKS, tasks.to_json())
    inspection.write_report(directory, hygiene, packed.without, packed, suites)
    write_rows(directory, SHARDS, summaries)
    write_index(directory, packed)
    metrics = long_audio.model_dump(include={"long_clips", "cut_clips", "cut_seconds"})
    return StageResult(records_in, num_packed, tally.num_rejected, metrics)


def clips_of(source: DataSource) -> Iterator[Clip]:
    """Yield the rows of a source that are recordings."""
    return (row for row in iter_source(source) if isinstance(row, Clip))


def check_source(source: DataSource) -> list[ContractResult]:
    """Check the contract of the manifest, before anything is decoded."""
    frames = clip_tables.manifest_frames(clips_of(source))
    return [validate_slices(MANIFEST, frames, "manifest")]


def check(directory: Store) -> list[ContractResult]:
    """Check the contracts of the corpus and of everything derived from it."""
    long_audio = LongAudio.model_validate_json(directory.read_bytes(LONG_AUDIO))
    tasks = read_tasks(directory)
    frames = clip_tables.shard_index_frames(
        iter_index(directory), long_audio.max_seconds, tasks.about_the_whole
    )
    results = [validate_slices(SHARD_INDEX, frames, "shard index")]
    pairs = read_pairs(directory)
    derived = {
        "dialogues": read_conversations(directory, DIALOGUES),
        "prompts": read_conversations(directory, PROMPTS),
        "conversations of the pairs": [preferred(pair) for pair in pairs],
    }
    named = {clip for each in derived.values() for dialogue in each for clip in dialogue.clip_ids}
    index = CorpusIndex(directory).by_id
    known = {clip for clip in named if clip in index}
    for name, conversations in derived.items():
        if conversations:
            frame = tables.dialogues_frame(conversations, known, held_out_fragments(tasks))
            results.append(validate(contracts.DIALOGUES, frame, name))
    if pairs:
        results.append(validate(contracts.PAIRS, tables.pairs_frame(pairs), "pairs"))
    return [*results, inspection.check(directory)]


class RejectedTally:
    """Counts by reason of what was not packed, with an example each.

    Only records that came in are counted: a composition is rejected as a consequence, and listed.
    """

    def __init__(self, composed: Collection[str]) -> None:
        self._composed = composed
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, Rejected] = {}
        self.num_rejected = 0
        """Number of all rejected records, compositions included."""

    def counted(self, rows: Iterable[Rejected]) -> Iterator[Rejected]:
        """Yield the same rows and count them."""
        for row in rows:
            self.num_rejected += 1
            if row.id not in self._composed:
                self._counts[row.reason] += 1
                self._examples.setdefault(row.reason, row)
            yield row

    def refuse_too_many(self, num_records: int, allowed: float, where: str) -> None:
        """Stop if more than the share `allowed` of the records that came in was rejected.

        Raises:
            TooManyRejectedError: with the counts by reason.
        """
        rejected = self._counts.total()
        if rejected / num_records <= allowed:
            return
        lines = [
            f"  {reason}: {self._counts[reason]}, e.g. {example.id}: {example.detail}"
            for reason, example in sorted(self._examples.items())
        ]
        raise TooManyRejectedError(
            f"{rejected} of {num_records} records were rejected ({rejected / num_records:.1%}); "
            f"ingest.max_rejected_share allows {allowed:.1%}:\n" + "\n".join(lines) + f"\n"
            f"All of them are in {where}. Repair the manifest, or raise the allowed share."
        )
