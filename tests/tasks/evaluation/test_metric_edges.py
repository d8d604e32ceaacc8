"""Edges of the metrics: single classes, mixed scripts, escaped text, unreadable letters."""

from dataclasses import replace

import pytest
import sacrebleu

from tasks.conversations.task_table import TaskError, shipped_tasks
from tasks.evaluation.metrics.normalisation import is_mandarin, normalise_transcript
from tasks.evaluation.metrics.table import METRICS, MetricTable, check_metrics
from tests.tasks.evaluation.test_metrics import make_item, score_item

MANDARIN = ("一只狗在院子里大声地叫。", "一只狗在院子里叫。")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("rain", False), ("", False), ("你好", True), ("猫がいる", False), ("漢字 안녕", False)],
)
def test_mandarin_is_han_without_kana_and_hangul(text: str, expected: bool) -> None:
    assert is_mandarin(text) == expected


def test_only_mandarin_is_split_into_characters_and_all_else_is_unescaped() -> None:
    """sacreBLEU's 13a undoes HTML's escapes, and keeps the Han of Japanese words together."""
    bleu = METRICS.named("bleu")
    for reference, answer in (
        ("Cats &amp; dogs run in the rain.", "Cats & dogs run in the rain."),
        ("猫 が マット に 座って いる", "猫 が マット に 座 って いる"),
    ):
        stats = bleu.statistics([make_item(reference, "bleu")], [answer])
        expected = sacrebleu.corpus_bleu([answer], [[reference]], tokenize="13a").score
        assert bleu.aggregate(stats) == expected
        assert expected != sacrebleu.corpus_bleu([answer], [[reference]], tokenize="zh").score


def test_bleu_of_one_answer_is_sacrebleus_sentence_score_in_its_script() -> None:
    reference, answer = MANDARIN
    scorer = sacrebleu.metrics.BLEU(tokenize="zh", effective_order=True)
    expected = scorer.sentence_score(answer, [reference]).score
    assert score_item(make_item(reference, "bleu"), answer) == expected > 10


def test_a_text_is_compared_by_character_where_more_than_half_of_its_letters_are_wide() -> None:
    assert normalise_transcript(make_item("ab 你好"), "ab 你好") == "ab 你好"
    assert normalise_transcript(make_item("a 你好"), "a 你好") == "a 你 好"
    assert normalise_transcript(make_item("12 34 你"), "12 你") == "1 2 你", "digits are no letters"


def test_a_class_with_one_reference_counts_as_much_as_any_other() -> None:
    metric = METRICS.named("balanced_accuracy")

    def score(references: list[str], answers: list[str]) -> float:
        items = [make_item(label, "accuracy", choices=("cat", "dog")) for label in references]
        return metric.aggregate(metric.statistics(items, answers))

    assert score(["cat", "dog"], ["cat", "cat"]) == 1 / 2
    assert score(["cat"], ["cat"]) == 1
    assert score(["cat", "cat", "dog"], ["dog", "cat", "dog"]) == (1 / 2 + 1) / 2


@pytest.mark.parametrize(("answer", "readable"), [("It is B\n.", 1), ("X", 0), ("It is X.", 0)])
def test_a_letter_is_one_of_four_and_line_breaks_play_no_part(answer: str, readable: int) -> None:
    assert score_item(make_item("B. a dog", "readable"), answer) == readable
    assert score_item(make_item("B. a dog", "choice"), answer) == readable


def test_the_shipped_tasks_and_metrics_fit_and_others_are_refused_by_the_task() -> None:
    tasks = shipped_tasks()
    check_metrics(tasks)
    with pytest.raises(
        TaskError, match=r"^task \w+: no metric is called '\w+': use one of cer, or"
    ):
        check_metrics(tasks, MetricTable((METRICS.named("cer"),)))
    labelled = tuple(replace(metric, is_of_labels=True) for metric in METRICS.metrics)
    with pytest.raises(
        TaskError, match=r"^task \w+: metric \w+ is for kind label, and this is \w+\. Declare `kind"
    ):
        check_metrics(tasks, MetricTable(labelled))
