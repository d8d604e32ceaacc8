"""The metrics against jiwer, sacrebleu and hand calculations."""

from dataclasses import replace

import jiwer
import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.answer_records import EvaluationItem
from data_contracts.records import Conversation, Turn
from tasks.evaluation.metrics.metric import Metric
from tasks.evaluation.metrics.normalisation import normalise_label, normalise_transcript
from tasks.evaluation.metrics.table import METRICS, MetricTable


def make_item(
    reference: str,
    metric: str = "wer",
    prompt: str = "",
    task: str = "asr",
    choices: tuple[str, ...] = (),
) -> EvaluationItem:
    turns = (Turn(role="user", text=prompt, audio=("c",)), Turn(role="assistant", text=reference))
    conversation = Conversation(id="i", format="completion", turns=turns, task=task)
    return EvaluationItem(conversation=conversation, suite="s", metric=metric, choices=choices)


def score_item(item: EvaluationItem, hypothesis: str) -> float:
    return METRICS.named(item.metric).score(item, hypothesis)


ENGLISH = "Detect the language and recognize the speech: <|en|>"
TRANSLATIONS = [
    ("The cat sits on the mat.", "The cat sat on the mat today."),
    ("A dog barks loudly in the yard.", "A dog barks loudly in the yard."),
    ("Rain.", ""),
    ("Two children play with a red ball.", "Two kids are playing with red balls"),
]


@pytest.mark.parametrize(
    ("reference", "hypothesis"),
    [
        ("the cat sat on the mat", "the cat sat mat"),
        ("a b c", "x a b c d"),
        ("one word", ""),
        ("eins zwei drei", "eins drei zwei"),
    ],
)
def test_wer_and_cer_of_an_item_are_jiwers(reference: str, hypothesis: str) -> None:
    assert score_item(make_item(reference), hypothesis) == jiwer.wer(reference, hypothesis)
    without_spaces = (reference.replace(" ", ""), hypothesis.replace(" ", ""))
    assert score_item(make_item(reference, "cer"), hypothesis) == jiwer.cer(*without_spaces)


def test_corpus_wer_is_total_edits_over_total_length() -> None:
    references, hypotheses = ["a b c d", "e", "f g"], ["a x c d", "", "f g h"]
    wer = METRICS.named("wer")
    stats = wer.statistics([make_item(reference) for reference in references], hypotheses)
    assert stats.tolist() == [[1, 4], [1, 1], [1, 2]]
    assert wer.aggregate(stats) == jiwer.wer(references, hypotheses) == 3 / 7


def test_english_normaliser_is_used_where_the_prompt_or_the_reference_names_english() -> None:
    for item in (
        make_item("I do not see twenty-one dogs, Mr. Smith.", prompt=ENGLISH),
        make_item("<|en|>I do not see twenty-one dogs, Mr. Smith."),
    ):
        assert score_item(item, "i don't see 21 dogs mister smith") == 0
    unnamed = make_item("I do not see twenty-one dogs, Mr. Smith.")
    assert score_item(unnamed, "i don't see 21 dogs mister smith") > 0


def test_tags_case_and_punctuation_cost_nothing() -> None:
    item = make_item("L'été, ça va!", prompt="... recognize the speech: <|fr|>")
    assert score_item(item, "<|fr|>l'été ça va<|endoftext|>") == 0


def test_digits_are_compared_one_by_one_and_never_joined() -> None:
    item = make_item("3 7 1", prompt=ENGLISH, task="digits")
    assert normalise_transcript(item, " 3  7 1\n") == "3 7 1"
    assert score_item(item, "3 7 1") == 0
    assert score_item(item, "3 1") == pytest.approx(1 / 3)
    assert score_item(item, "371") == 1  # one wrong word and two missing ones


@pytest.mark.parametrize(
    ("reference", "hypothesis", "rate"),
    [
        ("你好，世界。", "你好 世间", 1 / 4),
        ("こんにちは", "こんにちわ", 1 / 5),
        ("안녕 세상", "안녕세상", 0),
    ],
)
def test_han_kana_and_hangul_are_compared_by_character(
    reference: str, hypothesis: str, rate: float
) -> None:
    for metric in ("wer", "cer"):
        assert score_item(make_item(reference, metric), hypothesis) == pytest.approx(rate)


def test_an_empty_reference_counts_every_inserted_word() -> None:
    assert score_item(make_item("..."), "") == 0
    assert score_item(make_item("..."), "two words") == 2 == jiwer.wer("", "two words")


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_bleu_and_chrf_from_statistics_are_sacrebleus_corpus_scores(name: str) -> None:
    metric = METRICS.named(name)
    items = [make_item(reference, "bleu", task="s2tt") for reference, _ in TRANSLATIONS]
    hypotheses = [hypothesis for _, hypothesis in TRANSLATIONS]
    stats = metric.statistics(items, hypotheses)
    corpus_score = {"bleu": sacrebleu.corpus_bleu, "chrf": sacrebleu.corpus_chrf}[name]
    for chosen in ([0, 1, 2, 3], [3, 3, 0], [2]):  # also resamples with repeated items
        expected = corpus_score(
            [hypotheses[i] for i in chosen], [[TRANSLATIONS[i][0] for i in chosen]]
        ).score
        assert metric.aggregate(stats[chosen]) == expected


@given(st.lists(st.tuples(*[st.text("ab c.", max_size=12)] * 2), min_size=1, max_size=4))
def test_chrf_is_sacrebleus_to_the_last_bit(pairs: list[tuple[str, str]]) -> None:
    chrf = METRICS.named("chrf")
    references, hypotheses = ([pair[side].strip() for pair in pairs] for side in range(2))
    stats = chrf.statistics([make_item(reference) for reference in references], hypotheses)
    assert chrf.aggregate(stats) == sacrebleu.corpus_chrf(hypotheses, [references]).score


def test_mandarin_targets_are_tokenised_by_character() -> None:
    reference, hypothesis = "一只狗在院子里大声地叫。", "一只狗在院子里叫。"
    metric = METRICS.named("bleu")
    stats = metric.statistics([make_item(reference, "bleu", task="s2tt")], [hypothesis])
    expected = sacrebleu.corpus_bleu([hypothesis], [[reference]], tokenize="zh").score
    assert metric.aggregate(stats) == pytest.approx(expected)
    assert expected > 10 > sacrebleu.corpus_bleu([hypothesis], [[reference]]).score


def test_bleu_of_one_item_uses_the_effective_order() -> None:
    item = make_item("Rain falls.", "bleu", task="s2tt")
    assert score_item(item, "Rain falls.") == pytest.approx(100)
    assert score_item(item, "") == 0


def test_totals_of_many_resamples_are_scored_at_once() -> None:
    items = [make_item(reference, "bleu", task="s2tt") for reference, _ in TRANSLATIONS]
    classes = ("cat", "dog")
    labelled = [make_item(label, "accuracy", choices=classes) for label in ("cat", "dog", "dog")]
    cases = [
        (METRICS.named(name), items, [hypothesis for _, hypothesis in TRANSLATIONS])
        for name in ("wer", "cer", "bleu", "chrf")
    ] + [(METRICS.named("balanced_accuracy"), labelled, ["cat", "cat", "dog"])]
    for metric, members, hypotheses in cases:
        stats = metric.statistics(members, hypotheses)
        totals = np.stack([stats.sum(axis=0), stats[:2].sum(axis=0), stats[:1].sum(axis=0)])
        expected = [
            metric.aggregate(stats),
            metric.aggregate(stats[:2]),
            metric.aggregate(stats[:1]),
        ]
        assert metric.from_totals(totals).tolist() == expected


def test_accuracy_compares_labels_without_case_punctuation_and_tags() -> None:
    assert normalise_label(" <|en|>Dog  barking. ") == "dog barking"
    item = make_item("dog", "accuracy", choices=("cat", "dog"))
    assert [score_item(item, answer) for answer in ("Dog.", "a dog", "")] == [1, 0, 0]


def test_balanced_accuracy_is_the_mean_recall_over_reference_classes() -> None:
    # No reference is a cow, and "Dog." is the class "dog" again: neither may count.
    choices = ("cat", "dog", "cow", "Dog.")
    references = ["cat"] * 8 + ["dog"] * 2
    hypotheses = ["cat"] * 6 + ["dog", "moo"] + ["dog", "cow"]
    items = [make_item(reference, "accuracy", choices=choices) for reference in references]
    metric = METRICS.named("balanced_accuracy")
    stats = metric.statistics(items, hypotheses)
    assert metric.aggregate(stats) == pytest.approx((6 / 8 + 1 / 2) / 2)
    plain = METRICS.named("accuracy")
    assert plain.aggregate(plain.statistics(items, hypotheses)) == pytest.approx(7 / 10)


def test_dual_mode_asks_for_any_answer_of_the_right_mode() -> None:
    voice_chat = ("The capital of France is Paris.", "The capital of Spain is Madrid.")
    item = make_item(voice_chat[0], "dual_mode", choices=voice_chat)
    assert score_item(item, "the capital of spain is madrid") == 1
    assert score_item(item, "English") == 0


def test_dual_mode_refuses_an_item_whose_reference_is_of_no_mode() -> None:
    with pytest.raises(ValueError, match=r"'i'.*'Paris.*not among its 0 choices"):
        score_item(make_item("Paris.", "dual_mode"), "Paris.")


def test_balanced_accuracy_refuses_references_outside_of_the_choices() -> None:
    metric = METRICS.named("balanced_accuracy")
    item = make_item("horse", "balanced_accuracy", choices=("cat", "dog"))
    with pytest.raises(ValueError, match="'horse', which is not one of its suite's classes"):
        metric.row(item, "dog")


def test_an_unknown_metric_is_refused_with_the_known_ones_and_how_to_add_it() -> None:
    known = "use one of wer, cer, .*, dual_mode, or add a `Metric` of this name to METRICS in"
    with pytest.raises(ValueError, match=f"no metric is called 'rouge': {known}"):
        METRICS.named("rouge")


def test_a_table_refuses_two_metrics_of_one_name_and_a_secondary_one_that_it_lacks() -> None:
    wer = METRICS.named("wer")
    with pytest.raises(ValueError, match=r"several entries called wer: .*Rename all but one"):
        MetricTable((wer, replace(wer, title="other")))
    with pytest.raises(ValueError, match="no metric is called 'chrf': use one of bleu, or add"):
        MetricTable((METRICS.named("bleu"),))


def test_scores_are_written_in_the_scale_of_their_metric() -> None:
    written: list[tuple[Metric, str, str, str]] = [
        (METRICS.named("wer"), "12.5%", "WER ↓", "per cent"),
        (METRICS.named("bleu"), "0.1", "BLEU ↑", "BLEU"),
        (METRICS.named("dual_mode"), "12.5%", "right mode ↑", "per cent"),
    ]
    for metric, score, label, axis in written:
        assert (metric.format(0.125), metric.label, metric.axis) == (score, label, axis)
        assert metric.format(None) == "none"
    assert METRICS.named("wer").format_change(-0.125) == "-12.5"


def test_a_choice_is_read_as_air_bench_reads_it_and_what_is_unreadable_is_left_out() -> None:
    answers = {
        "B. a dog": 1, "B": 1, "B because it barks": 1, "The answer is B.": 1, "I think\n(B)": 1,
        "A. a cat": 0, "It is C.": 0,
        "a dog": None, "": None, "b. a dog": None, "E": None,
    }  # fmt: skip
    items = [make_item("B. a dog", "choice", task="choice") for _ in answers]
    choice, readable = METRICS.named("choice"), METRICS.named("readable")
    assert choice.aggregate(choice.statistics(items, list(answers))) == 5 / 7
    assert readable.aggregate(readable.statistics(items, list(answers))) == 7 / 11
    for answer, right in answers.items():
        assert score_item(items[0], answer) == (right or 0)
    with pytest.raises(ValueError, match=r"'a dog', which names none of the choices .*'B. a dog'"):
        score_item(make_item("a dog", "choice"), "B")
