"""Building of the report: scores, intervals, paired tests, confusion matrices, examples."""

from itertools import pairwise

import numpy as np

from tasks.evaluation.answered_suites import AnsweredSuite, Evaluation, answered_suites
from tasks.evaluation.metrics.metric import Array
from tasks.evaluation.metrics.normalisation import normalise_label, strip_tags
from tasks.evaluation.metrics.table import METRICS, MetricTable
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
"""A larger matrix (of whole sentences of voice chat, say) can't be read."""


def build_report(
    evaluation: Evaluation, seed: int, num_examples: int = 3, metrics: MetricTable = METRICS
) -> Report:
    """Score the predictions suite by suite.

    Args:
        seed: of the bootstrap, the paired tests and the draw of examples.
        num_examples: items a suite, drawn at random and not chosen by score.
        metrics: the table in which the items' metrics are looked up.

    Raises:
        ValueError: where a checkpoint lacks the answer to an item, or `check_suites` refuses.
    """
    results: list[SuiteResult] = []
    comparisons: list[Comparison] = []
    confusions: list[Confusion] = []
    examples: list[Example] = []
    checkpoints = evaluation.checkpoints
    for suite in answered_suites(evaluation, metrics):
        stats = {
            name: suite.metric.statistics(suite.items, answers)
            for name, answers in suite.answers.items()
        }
        train_answers = evaluation.train_answers.get(suite.name, ())
        majority = majority_score(suite.items, suite.metric, train_answers)
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
        title=evaluation.title,
        checkpoints=tuple(checkpoints),
        results=tuple(results),
        comparisons=tuple(comparisons),
        confusions=tuple(confusions),
        examples=tuple(examples),
        provenance=dict(evaluation.provenance),
    )


def _result(
    suite: AnsweredSuite, checkpoint: str, stats: Array, majority: float, seed: int
) -> SuiteResult:
    interval = bootstrap_interval(stats, suite.metric.from_totals, seed)
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
        chance=chance_score(suite.items, suite.metric),
        majority=majority,
        secondary={
            other.name: other.aggregate(other.statistics(suite.items, answers))
            for other in suite.secondary
        },
    )


def _comparison(
    suite: AnsweredSuite, names: tuple[str, str], stats: tuple[Array, Array], seed: int
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


def _confusion(suite: AnsweredSuite, checkpoint: str) -> Confusion:
    columns = {normalise_label(label): index for index, label in enumerate(suite.classes)}
    counts = np.zeros((len(suite.classes), len(suite.classes) + 1), dtype=int)
    for item, answer in zip(suite.items, suite.answers[checkpoint], strict=True):
        row = columns[normalise_label(item.conversation.answer)]
        counts[row, columns.get(normalise_label(answer), len(suite.classes))] += 1
    return Confusion(
        suite=suite.name,
        checkpoint=checkpoint,
        classes=(*suite.classes, OTHER),
        counts=tuple(tuple(row) for row in counts.tolist()),
    )


def _example(suite: AnsweredSuite, index: int) -> Example:
    item = suite.items[index]
    # A perfect answer scores what the reference scores against itself.
    best = suite.metric.score(item, item.conversation.answer)
    answers = []
    for checkpoint, texts in suite.answers.items():
        text = texts[index]
        score = suite.metric.score(item, text)
        answers.append(
            ExampleAnswer(checkpoint=checkpoint, text=text, score=score, right=score == best)
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
