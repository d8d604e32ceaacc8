"""Evaluation: what each checkpoint answers to every suite, and the report about it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import Field

from data_contracts import conversation_contracts as contracts
from data_contracts import conversation_tables as tables
from data_contracts.answer_records import EvaluationItem, Prediction, PreferencePair
from data_contracts.contract_result import ContractResult
from data_contracts.jsonl import from_jsonl, to_jsonl
from data_contracts.recipe import Recipe
from data_contracts.records import PackedClip, Turn
from data_contracts.validation import validate
from infra.storage.kept_files import is_kept, write_kept
from infra.storage.store import Store
from model.generate import GenerationSettings
from tasks.context import StageContext, StageResult
from tasks.conversations.task_table import SPOKEN_COMMAND
from tasks.corpus.artifact import DIALOGUES, read_conversations, read_suites, read_tasks
from tasks.corpus.pairs import read_pairs
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import read_index
from tasks.evaluation.answered_suites import Evaluation, check_suites
from tasks.evaluation.answerer import Answerer
from tasks.evaluation.metrics.table import METRICS
from tasks.evaluation.predictions_table import FILE as PREDICTIONS_TABLE
from tasks.evaluation.predictions_table import predictions_table
from tasks.evaluation.report import Report
from tasks.evaluation.report_builder import build_report
from tasks.evaluation.report_page import render_report
from tasks.objectives.preference import score_pairs
from tasks.training.fit import CHECKPOINT

_OTHER_INPUTS = ("corpus", "pairs")
"""Inputs that are no checkpoints."""
PREFERENCE = "preference"
"""Suite of held-out pairs: which of its two answers does a checkpoint find more probable?"""
REPORT_JSON = "report.json"
REPORT_PAGE = "report.html"
ITEMS = "items.jsonl"
PREDICTIONS = "predictions.jsonl"


class EvaluateRecipe(Recipe):
    """Everything that changes the report's numbers."""

    max_new_tokens: int = Field(32, ge=1)
    """Longest answer, in tokens, of greedy decoding."""
    examples_per_suite: int = Field(3, ge=0)
    """Number of examples of each suite that the page plays."""
    seed: int = 0
    """Seed of the bootstrap, the paired tests and the draw of examples."""


@dataclass(frozen=True)
class Questions:
    """What every checkpoint is asked."""

    corpus: Store
    items: Sequence[EvaluationItem]
    """Items of the suite PREFERENCE are answered by probability, the others by generation."""
    held_out: Sequence[PreferencePair]
    """The pairs that the items of the suite PREFERENCE are made of."""
    max_new_tokens: int
    """Longest answer, in tokens."""


def run(context: StageContext, recipe: EvaluateRecipe) -> StageResult:
    """Answer all suites with all checkpoints (finished ones are kept) and write the report."""
    corpus = context.inputs["corpus"]
    held_out = [p for p in read_pairs(context.inputs["pairs"]) if p.split == "test"]
    items = [item for _, suite in read_suites(corpus) for item in suite]
    items += [preference_item(pair) for pair in held_out]
    check_suites(items)  # before hours of answering
    _answer_missing(context, items, held_out, recipe)
    predictions = [
        prediction
        for name in checkpoint_names(context)
        for prediction in _read_predictions(context.directory, _answers_key(name))
    ]
    context.directory.write_text(ITEMS, to_jsonl(items))
    context.directory.write_text(PREDICTIONS, to_jsonl(predictions))
    report = _write_report(context, items, predictions, recipe)
    if rows := predictions_table(items, predictions):
        context.logger.table(rows, PREDICTIONS_TABLE)
    return StageResult(len(items), len(predictions), metrics=headline(report))


def checkpoint_names(context: StageContext) -> tuple[str, ...]:
    """Return the names of the checkpoints that are compared, in their order."""
    return tuple(name for name in context.inputs if name not in _OTHER_INPUTS)


def _answer_missing(
    context: StageContext,
    items: Sequence[EvaluationItem],
    held_out: Sequence[PreferencePair],
    recipe: EvaluateRecipe,
) -> None:
    """Let every checkpoint without saved predictions answer, one on each device."""
    answer = partial(
        answer_all,
        Questions(context.inputs["corpus"], items, held_out, recipe.max_new_tokens),
        {name: context.inputs[name] for name in checkpoint_names(context)},
        context.directory,
        context.scratch,
    )
    missing = [
        name
        for name in checkpoint_names(context)
        if not is_kept(context.directory, _answers_key(name), context.progress)
    ]
    for name in context.compute.map_on_devices(answer, missing):
        context.progress(f"checkpoint {name} answered {len(items)} items")


def _write_report(
    context: StageContext,
    items: Sequence[EvaluationItem],
    predictions: Sequence[Prediction],
    recipe: EvaluateRecipe,
) -> Report:
    """Score the predictions and write the report as a page with players, and as data."""
    corpus = context.inputs["corpus"]
    index = read_index(corpus)
    evaluation = Evaluation(
        title="Qwen2-Audio pipeline",
        checkpoints=checkpoint_names(context),
        items=items,
        predictions=predictions,
        train_answers=training_answers(corpus, index),
        provenance={name: store.url.rsplit("/", 1)[-1] for name, store in context.inputs.items()},
    )
    report = build_report(evaluation, recipe.seed, recipe.examples_per_suite)
    clips = {clip for example in report.examples for clip in example.clip_ids}
    reader = ClipReader(corpus, index)
    audio = {clip: reader.audio(clip) for clip in sorted(clips)}
    context.directory.write_text(REPORT_PAGE, render_report(report, audio))
    context.directory.write_text(REPORT_JSON, report.model_dump_json(indent=2))
    return report


def answer_all(
    questions: Questions,
    checkpoints: Mapping[str, Store],
    directory: Store,
    scratch: Path,
    device: str,
    name: str,
) -> str:
    """Answer every question with the checkpoint `name` and save the predictions; return `name`."""
    checkpoint = checkpoints[name].below(CHECKPOINT)
    answerer = Answerer.open(checkpoint, questions.corpus, scratch, device)
    settings = GenerationSettings(max_new_tokens=questions.max_new_tokens)
    asked = [item for item in questions.items if item.suite != PREFERENCE]
    answers = answerer.answer([item.conversation for item in asked], settings)
    predictions = [
        _predict(item, name, answer) for item, (answer,) in zip(asked, answers, strict=True)
    ]
    scores = score_pairs(answerer, questions.held_out)
    for pair in questions.held_out:
        chosen, rejected = scores[pair.id]
        preferred = pair.chosen if chosen > rejected else pair.rejected
        predictions.append(_predict(preference_item(pair), name, preferred))
    write_kept(directory, _answers_key(name), to_jsonl(predictions).encode())
    return name


def preference_item(pair: PreferencePair) -> EvaluationItem:
    """Turn a held-out pair into a choice between two answers, of which the chosen one is right."""
    turns = (*pair.prompt.turns, Turn(role="assistant", text=pair.chosen))
    return EvaluationItem(
        conversation=pair.prompt.model_copy(update={"id": pair.id, "turns": turns}),
        suite=PREFERENCE,
        metric="accuracy",
        choices=(pair.chosen, pair.rejected),
    )


def training_answers(corpus: Store, index: Iterable[PackedClip]) -> dict[str, list[str]]:
    """Read what the majority baseline may know of each suite: the answers of the train split."""
    answers: dict[str, list[str]] = {}
    for clip in index:
        if clip.split == "train":
            for task, answer in clip.targets.items():
                answers.setdefault(task, []).append(answer)
    asked_by_voice = {SPOKEN_COMMAND, *read_tasks(corpus).asked_by_voice}
    for name in asked_by_voice:
        answers.pop(name, None)
    for dialogue in read_conversations(corpus, DIALOGUES):
        if dialogue.split == "train" and dialogue.task in asked_by_voice:
            answers.setdefault(dialogue.task, []).append(dialogue.answer)
    return {name: texts for name, texts in answers.items() if texts}


def headline(report: Report) -> dict[str, float]:
    """Return the scores by `suite.metric.checkpoint`, as the tracking run logs them."""
    return {
        f"{result.suite}.{result.metric}.{result.checkpoint}": result.value
        for result in report.results
    }


def read_report(directory: Store) -> Report:
    """Read the report of a finished evaluation."""
    return Report.model_validate_json(directory.read_bytes(REPORT_JSON))


def check(directory: Store) -> list[ContractResult]:
    """Check the contract of the predictions: exactly one for each checkpoint and item."""
    items = from_jsonl(directory.read_text(ITEMS), EvaluationItem, directory.path(ITEMS))
    frame = tables.predictions_frame(_read_predictions(directory, PREDICTIONS), items)
    return [validate(contracts.PREDICTIONS, frame, "predictions")]


def _predict(item: EvaluationItem, checkpoint: str, hypothesis: str) -> Prediction:
    return Prediction(
        id=item.conversation.id,
        suite=item.suite,
        checkpoint=checkpoint,
        reference=item.conversation.answer,
        hypothesis=hypothesis,
        score=METRICS.named(item.metric).score(item, hypothesis),
    )


def _answers_key(name: str) -> str:
    return f"scratch/predictions-{name}.jsonl"


def _read_predictions(directory: Store, key: str) -> list[Prediction]:
    return from_jsonl(directory.read_text(key), Prediction, directory.path(key))
