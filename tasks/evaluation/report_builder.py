"""From predictions to the report: scores, intervals, paired tests, confusions, examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data_contracts.records import EvaluationItem, Prediction
from tasks.evaluation.metrics import (
    LABEL_METRICS,
    Array,
    Metric,
    metric_named,
    normalise_label,
    score_item,
    strip_tags,
)
from tasks.evaluation.report import (
    OTHER,
    Comparison,
    Confusion,
    Example,
    ExampleAnswer,
    Report,
    SuiteResult,
)
from tasks.evaluation.statistics import (
    bootstrap_interval,
    chance_score,
    majority_score,
    paired_test,
)

_MAX_CONFUSION_CLASSES = 40
"""Beyond it (whole sentences of voice chat, say) a matrix is too large to read."""


@dataclass(frozen=True)
class _Suite:
    """The items of one suite with every checkpoint's answers, in the order of the items."""

    name: str
    items: list[EvaluationItem]
    answers: dict[str, list[str]]
    metric: Metric
    classes: tuple[str, ...]
    """The closed set of answers that all items share; empty where there is none."""


def build_report(
    title: str,
    checkpoints: Sequence[str],
    items: Sequence[EvaluationItem],
    predictions: Sequence[Prediction],
    train_answers: Mapping[str, Sequence[str]],
    provenance: Mapping[str, str],
    seed: int,
    num_examples: int = 3,
) -> Report:
    """Score `predictions` suite by suite, in the order in which `items` first names the suites.

    Args:
        checkpoints: their names in training order; each is compared with the one before it.
        train_answers: by suite, the training answers that the majority baseline may know; a suite
            that is missing gets the most common reference.
        provenance: shown with the numbers: fingerprints, run, seed.
        num_examples: items a suite, drawn at random by `seed` and not chosen by score.

    Raises:
        ValueError: where a checkpoint lacks the answer to an item, or a suite mixes metrics.
    """
    results: list[SuiteResult] = []
    comparisons: list[Comparison] = []
    confusions: list[Confusion] = []
    examples: list[Example] = []
    for suite in _group(checkpoints, items, predictions):
        metric = suite.metric
        stats = {
            name: metric.statistics(suite.items, answers) for name, answers in suite.answers.items()
        }
        majority = majority_score(suite.items, metric, train_answers.get(suite.name, ()))
        results += [_result(suite, name, stats[name], majority, seed) for name in checkpoints]
        comparisons += [
            _comparison(suite, (before, after), (stats[before], stats[after]), seed)
            for before, after in pairwise(checkpoints)
        ]
        if 0 < len(suite.classes) <= _MAX_CONFUSION_CLASSES:
            confusions += [_confusion(suite, name) for name in checkpoints]
        drawn = np.random.default_rng(seed).permutation(len(suite.items))[:num_examples]
        examples += [_example(suite, index) for index in sorted(drawn.tolist())]
    return Report(
        title=title,
        checkpoints=tuple(checkpoints),
        results=tuple(results),
        comparisons=tuple(comparisons),
        confusions=tuple(confusions),
        examples=tuple(examples),
        provenance=dict(provenance),
    )


def _group(
    checkpoints: Sequence[str], items: Sequence[EvaluationItem], predictions: Sequence[Prediction]
) -> list[_Suite]:
    given = {(p.checkpoint, p.suite, p.id): p.hypothesis for p in predictions}
    suites = []
    for name in dict.fromkeys(item.suite for item in items):
        members = [item for item in items if item.suite == name]
        metrics = {item.metric for item in members}
        if len(metrics) > 1:
            raise ValueError(
                f"suite {name!r} mixes the metrics {sorted(metrics)}: one suite has one number. "
                "Give each metric a suite of its own."
            )
        answers: dict[str, list[str]] = {checkpoint: [] for checkpoint in checkpoints}
        for checkpoint, heard in answers.items():
            for item in members:
                key = (checkpoint, name, item.conversation.id)
                if key not in given:
                    raise ValueError(
                        f"checkpoint {checkpoint!r} has no answer to item {key[2]!r} of suite "
                        f"{name!r}: a score needs all of them. Resume the evaluation."
                    )
                heard.append(given[key])
        # Items with choices of their own (multiple choice) have no classes in common.
        is_closed = metrics <= LABEL_METRICS and len({item.choices for item in members}) == 1
        classes = members[0].choices if is_closed else ()
        metric = metric_named(members[0].metric, classes)
        suites.append(_Suite(name, members, answers, metric, classes))
    return suites


def _result(
    suite: _Suite, checkpoint: str, stats: Array, majority: float, seed: int
) -> SuiteResult:
    interval = bootstrap_interval(stats, suite.metric.from_totals, seed)
    beside = {"bleu": ["chrf"], "choice": ["readable"]}
    further = [metric_named(name) for name in beside.get(suite.metric.name, [])]
    if suite.classes:
        others = sorted(LABEL_METRICS - {suite.metric.name})
        further += [metric_named(name, suite.classes) for name in others]
    answers = suite.answers[checkpoint]
    return SuiteResult(
        suite=suite.name,
        checkpoint=checkpoint,
        metric=suite.metric.name,
        higher_is_better=suite.metric.higher_is_better,
        n=len(suite.items),
        value=suite.metric.aggregate(stats),
        low=interval.low,
        high=interval.high,
        chance=chance_score(suite.items),
        majority=majority,
        secondary={m.name: m.aggregate(m.statistics(suite.items, answers)) for m in further},
    )


def _comparison(
    suite: _Suite, names: tuple[str, str], stats: tuple[Array, Array], seed: int
) -> Comparison:
    test = paired_test(*stats, suite.metric.from_totals, seed)
    return Comparison(
        suite=suite.name,
        metric=suite.metric.name,
        higher_is_better=suite.metric.higher_is_better,
        before=names[0],
        after=names[1],
        difference=test.difference,
        low=test.interval.low,
        high=test.interval.high,
        p_value=test.p_value,
    )


def _confusion(suite: _Suite, checkpoint: str) -> Confusion:
    place = {normalise_label(label): index for index, label in enumerate(suite.classes)}
    counts = np.zeros((len(suite.classes), len(suite.classes) + 1), dtype=int)
    for item, answer in zip(suite.items, suite.answers[checkpoint], strict=True):
        row = place[normalise_label(item.conversation.answer)]
        counts[row, place.get(normalise_label(answer), len(suite.classes))] += 1
    return Confusion(
        suite=suite.name,
        checkpoint=checkpoint,
        classes=(*suite.classes, OTHER),
        counts=tuple(tuple(row) for row in counts.tolist()),
    )


def _example(suite: _Suite, index: int) -> Example:
    item = suite.items[index]
    # A perfect answer scores what the reference scores against itself.
    best = score_item(item, item.conversation.answer)
    answers = []
    for checkpoint, heard in suite.answers.items():
        score = score_item(item, heard[index])
        answers.append(
            ExampleAnswer(
                checkpoint=checkpoint, text=heard[index], score=score, right=bool(score == best)
            )
        )
    asked = [turn for turn in item.conversation.prompt if turn.role != "system"]
    return Example(
        id=item.conversation.id,
        suite=suite.name,
        metric=suite.metric.name,
        question="\n".join(f"{turn.role}: {turn.text or '(audio alone)'}" for turn in asked),
        clip_ids=item.conversation.clip_ids,
        reference=strip_tags(item.conversation.answer),
        answers=tuple(answers),
    )
