"""Stage 4: samples answers of the SFT model and ranks them into preference pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from data_contracts import conversation_contracts as contracts
from data_contracts import conversation_tables as tables
from data_contracts.answer_records import PreferencePair
from data_contracts.contract_result import ContractResult
from data_contracts.jsonl import from_jsonl, to_jsonl
from data_contracts.recipe import Recipe
from data_contracts.records import Conversation, Record
from data_contracts.validation import validate
from infra.storage.kept_files import is_kept, write_kept
from infra.storage.store import Store
from model.generate import GenerationSettings
from tasks.context import StageContext, StageResult
from tasks.corpus.artifact import PROMPTS, read_conversations, read_tasks
from tasks.corpus.pairs import PAIRS, read_pairs
from tasks.evaluation.answerer import Answerer
from tasks.evaluation.ranking import Ranker, ranker_of
from tasks.training.fit import CHECKPOINT


class CollectRecipe(Recipe):
    """Everything that changes the pairs."""

    num_samples: int = Field(8, ge=2)
    """Answers sampled for each prompt, at least 2."""
    temperature: float = Field(1.0, gt=0)
    """Divides the logits before a token is drawn, above 0."""
    top_p: float = Field(0.95, gt=0, le=1)
    """A token is drawn from the most probable ones that have this probability together, above 0."""
    max_new_tokens: int = Field(32, ge=1)
    """Longest answer, in tokens, at least 1."""
    pairs_per_prompt: int = Field(2, ge=1)
    """Most pairs of one prompt, at least 1."""
    min_margin: float = Field(0.02, ge=0)
    """Difference of scores, at least 0, up to which two answers tie."""
    min_chosen_score: float = Field(0.9, ge=0, le=1)
    """Score, 0 to 1, below which an answer is never worth preferring. Translations, captions and
    conversations, which chrF ranks, rarely reach the default; 0.5 is much for them."""
    prompts_per_chunk: int = Field(64, ge=1)
    """Prompts that are answered and saved together, at least 1."""
    seed: int = 0
    """Seed of the draws of tokens."""


class NoPairsError(ValueError):
    """No prompt has two answers of which one is clearly better."""


class SampledAnswers(Record):
    """One prompt's answers."""

    prompt: Conversation
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Collected:
    """Pairs of one prompt, and what was dropped."""

    pairs: tuple[PreferencePair, ...]
    duplicates: int
    """Number of answers that repeat another one."""
    tied: bool
    """No answer is good enough, or no two differ enough in score."""


def run(context: StageContext, recipe: CollectRecipe) -> StageResult:
    """Sample answers chunk by chunk (finished chunks are kept), rank them, write the pairs."""
    prompts = read_conversations(context.inputs["corpus"], PROMPTS)
    size = recipe.prompts_per_chunk
    chunks = [tuple(prompts[i : i + size]) for i in range(0, len(prompts), size)]
    missing = [
        (number, chunk)
        for number, chunk in enumerate(chunks)
        if not is_kept(context.directory, _chunk_key(number), context.progress)
    ]
    sample = ChunkSampler(
        checkpoint=context.inputs["checkpoint"].below(CHECKPOINT),
        corpus=context.inputs["corpus"],
        directory=context.directory,
        scratch=context.scratch,
        recipe=recipe,
    )
    for number in context.compute.map_on_devices(sample, missing):
        context.progress(f"prompts of chunk {number} answered, {len(chunks)} chunks in all")
    tasks = read_tasks(context.inputs["corpus"])
    collected = [
        make_pairs(answered, ranker_of(answered.prompt.task, tasks), recipe)
        for number in range(len(chunks))
        for answered in _read_chunk(context.directory, number)
    ]
    pairs = [pair for result in collected for pair in result.pairs]
    if not any(pair.split != "test" for pair in pairs):
        raise NoPairsError(
            f"{len(prompts)} prompts gave no training pair: the answers to each tie, or all score "
            f"below {recipe.min_chosen_score}. Train the SFT model longer, or change "
            "collect_preferences.num_samples, temperature or min_chosen_score."
        )
    context.directory.write_text(PAIRS, to_jsonl(pairs))
    ties = sum(result.tied for result in collected)
    duplicates = sum(result.duplicates for result in collected)
    metrics = {"ties": ties, "duplicate_answers": duplicates, "pairs": len(pairs)}
    return StageResult(len(prompts), len(pairs), ties, metrics)


@dataclass(frozen=True)
class ChunkSampler:
    """Answers prompts with one checkpoint, on any worker: it pickles."""

    checkpoint: Store
    corpus: Store
    directory: Store
    """The artifact's folder, where finished chunks are kept."""
    scratch: Path
    recipe: CollectRecipe

    def __call__(self, device: str, chunk: tuple[int, tuple[Conversation, ...]]) -> int:
        """Answer the prompts of a numbered chunk and save the answers; return its number."""
        number, prompts = chunk
        answerer = Answerer.open(self.checkpoint, self.corpus, self.scratch, device)
        settings = GenerationSettings(
            max_new_tokens=self.recipe.max_new_tokens,
            num_samples=self.recipe.num_samples,
            temperature=self.recipe.temperature,
            top_p=self.recipe.top_p,
            seed=self.recipe.seed,
        )
        answered = [
            SampledAnswers(prompt=prompt, answers=tuple(answers))
            for prompt, answers in zip(prompts, answerer.answer(prompts, settings), strict=True)
        ]
        write_kept(self.directory, _chunk_key(number), to_jsonl(answered).encode())
        return number


def make_pairs(answered: SampledAnswers, ranker: Ranker, recipe: CollectRecipe) -> Collected:
    """Pair the best answer with the worst ones, the largest margin first.

    Duplicate answers and prompts without a pair are counted; an empty answer is left out, because
    a triplet needs two texts.
    """
    different = list(dict.fromkeys(answer.strip() for answer in answered.answers))
    duplicates = len(answered.answers) - len(different)
    texts = [answer for answer in different if answer]
    scored = sorted(
        zip(ranker.scores(answered.prompt, texts), texts, strict=True), key=lambda pair: -pair[0]
    )
    pairs = []
    if scored and scored[0][0] >= recipe.min_chosen_score:
        best_score, best = scored[0]
        worse = [row for row in reversed(scored) if best_score - row[0] > recipe.min_margin]
        for number, (score, text) in enumerate(worse[: recipe.pairs_per_prompt]):
            pairs.append(
                PreferencePair(
                    id=f"{answered.prompt.id}#{number}",
                    prompt=answered.prompt.model_copy(update={"turns": answered.prompt.prompt}),
                    chosen=best,
                    rejected=text,
                    chosen_score=best_score,
                    rejected_score=score,
                    ranker=ranker.name,
                    split=answered.prompt.split,
                )
            )
    return Collected(tuple(pairs), duplicates, tied=not pairs)


def check(directory: Store) -> list[ContractResult]:
    """Check the contract of the pairs."""
    return [validate(contracts.PAIRS, tables.pairs_frame(read_pairs(directory)), "pairs")]


def _chunk_key(number: int) -> str:
    return f"scratch/answers-{number:05d}.jsonl"


def _read_chunk(directory: Store, number: int) -> Sequence[SampledAnswers]:
    key = _chunk_key(number)
    return from_jsonl(directory.read_text(key), SampledAnswers, directory.path(key))
