"""The report: numbers reach it unchanged, the page stands alone, hostile text stays text."""

import base64
import re
from typing import Any

import pytest

from tasks.evaluation.answered_suites import Evaluation, check_suites
from tasks.evaluation.metrics.table import METRICS
from tasks.evaluation.report import (
    Comparison,
    Report,
    format_difference,
    format_p_value,
)
from tasks.evaluation.report_builder import build_report
from tasks.evaluation.report_page import render_report
from tests.support.html_page import Page
from tests.tasks.evaluation.small_evaluation import make_item, predict, terminal_text

HOSTILE = (
    """</td><script src="http://evil.example/x.js">alert('1')</script><img src=x onerror="a">$x$"""
)
SOUNDS = ("cat", "dog", "rain")
FLAC = b"fLaC\x00\x01"


def make_report(hostile: str = "dog", **changes: Any) -> Report:
    """Three suites; SFT learns the sounds, DPO unlearns the translation."""
    sound = [make_item("sound", i, SOUNDS[i % 3], "accuracy", SOUNDS) for i in range(30)]
    asr = [make_item("asr", i, f"a b c d{i}", "wer") for i in range(4)]
    s2tt = [make_item("s2tt", i, f"The {i} cats sit on the mat.", "bleu") for i in range(12)]
    right = [item.conversation.answer for item in (*sound, *asr, *s2tt)]
    answers = {
        "base": [hostile] * 30 + [""] * 4 + ["The cat sits."] * 12,
        "sft": right[:27] + ["moo"] * 3 + right[30:],
        "dpo": right[:34] + [hostile] * 12,
    }
    items = [*sound, *asr, *s2tt]
    arguments: dict[str, Any] = {
        "title": "Evaluation",
        "checkpoints": ("base", "sft", "dpo"),
        "items": items,
        "predictions": predict(items, answers),
        "train_answers": {"sound": ["cat"]},
        "provenance": {"seed": "1"},
    }
    return build_report(Evaluation(**{**arguments, **changes}), seed=1)


def test_results_hold_value_interval_and_baselines() -> None:
    report = make_report()
    assert report.suites == ("sound", "asr", "s2tt")
    base = report.result("sound", "base")
    assert (base.n, base.value, base.chance, base.majority) == (30, 1 / 3, 1 / 3, 1 / 3)
    assert base.low < base.value < base.high
    assert base.secondary == {"balanced_accuracy": pytest.approx(1 / 3)}
    assert report.result("sound", "sft").value == 0.9
    asr = report.result("asr", "base")
    assert (asr.metric, asr.value, asr.chance, asr.higher_is_better) == ("wer", 1, None, False)
    assert report.result("s2tt", "sft").value == pytest.approx(100)
    assert list(report.result("s2tt", "sft").secondary) == ["chrf"]


def test_the_majority_baseline_knows_training_answers_and_no_others() -> None:
    """Of the references the most common one is right in 3 of 4, that of training in 1 of 4."""
    references = ("dog", "dog", "dog", "rain")
    items = [make_item("sound", i, text, "accuracy", SOUNDS) for i, text in enumerate(references)]
    for train_answers, majority in (
        ({"sound": ["rain", "rain", "dog"], "asr": ["dog"]}, 0.25),
        ({"asr": ["rain"]}, 0.75),
    ):
        report = make_report(
            checkpoints=("base",),
            items=items,
            predictions=predict(items, {"base": references}),
            train_answers=train_answers,
        )
        assert report.result("sound", "base").majority == majority


def test_each_checkpoint_is_compared_with_the_one_before_it() -> None:
    verdicts = {(c.suite, c.before, c.after): c.verdict for c in make_report().comparisons}
    assert verdicts == {
        ("sound", "base", "sft"): "better",
        ("sound", "sft", "dpo"): "no clear difference",  # three items of thirty
        ("asr", "base", "sft"): "no clear difference",  # four items can't reach 0.05
        ("asr", "sft", "dpo"): "no clear difference",
        ("s2tt", "base", "sft"): "better",
        ("s2tt", "sft", "dpo"): "worse",
    }


def test_a_lower_error_rate_is_better() -> None:
    comparison = Comparison(
        suite="asr",
        metric="wer",
        higher_is_better=False,
        before="a",
        after="b",
        difference=-0.125,
        low=-0.2,
        high=-0.05,
        p_value=0.0004,
    )
    assert comparison.verdict == "better"
    assert format_difference(comparison, METRICS.named("wer")) == "-12.5 [-20.0, -5.0]"
    assert format_p_value(comparison.p_value) == "< 0.001"


def test_confusions_count_every_item_and_put_foreign_answers_aside() -> None:
    confusion = next(c for c in make_report().confusions if c.checkpoint == "sft")
    assert confusion.classes == ("cat", "dog", "rain", "(other)")
    assert confusion.counts == ((9, 0, 0, 1), (0, 9, 0, 1), (0, 0, 9, 1))


def test_sets_too_large_to_read_get_no_confusion_matrix() -> None:
    sentences = tuple(f"Sentence {i}." for i in range(41))
    items = [make_item("chat", i, sentences[i], "accuracy", sentences) for i in range(3)]
    predictions = predict(items, {"base": sentences[:3]})
    report = make_report(checkpoints=("base",), items=items, predictions=predictions)
    assert report.result("chat", "base").value == 1
    assert report.confusions == ()


def test_examples_hold_every_checkpoints_answer_with_its_verdict() -> None:
    examples = [example for example in make_report().examples if example.suite == "asr"]
    assert len(examples) == 3
    first = examples[0]
    assert first.question == f"user: Question {first.id[3:]}?"
    assert first.clip_ids == (f"asr-clip{first.id[3:]}",)
    assert [(a.checkpoint, a.right) for a in first.answers] == [
        ("base", False),
        ("sft", True),
        ("dpo", True),
    ]


def test_an_answer_of_the_right_mode_is_not_called_right() -> None:
    spoken = ("Paris.", "Madrid.")
    items = [make_item("dual_mode", i, "Paris.", "dual_mode", spoken) for i in range(2)]
    predictions = predict(items, {"base": ["Madrid.", "English"]})
    report = make_report(checkpoints=("base",), items=items, predictions=predictions)
    rows = Page(render_report(report, {})).rows
    assert ["base", "Madrid.", "✓ right mode"] in rows
    assert ["base", "English", "✗ wrong mode"] in rows


def test_balanced_accuracy_refuses_a_suite_whose_items_share_no_choices() -> None:
    items = [make_item("sound", i, "a", "balanced_accuracy", ("a", f"b{i}")) for i in range(2)]
    with pytest.raises(ValueError, match="balanced_accuracy got no classes for suite 'sound'"):
        make_report(items=items, predictions=[])


def test_the_report_survives_json() -> None:
    report = make_report()
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_the_same_predictions_give_the_same_bytes() -> None:
    first, second = make_report(), make_report()
    assert first.model_dump_json() == second.model_dump_json()
    assert render_report(first, {}) == render_report(second, {})


def test_the_page_shows_the_table_and_plays_the_examples() -> None:
    report = make_report()
    clip = report.examples[0].clip_ids[0]
    page = Page(render_report(report, {clip: FLAC}))
    players = [attributes["src"] for tag, attributes in page.elements if tag == "audio"]
    assert players == [f"data:audio/flac;base64,{base64.b64encode(FLAC).decode()}"]
    for expected in ("accuracy ↑", "WER ↓", "90.0%", "✓ right", "✗ wrong", "✗ differs"):
        assert expected in page.text
    assert f"{report.examples[1].clip_ids[0]}: audio not included" in page.text
    assert sum(tag == "svg" for tag, _ in page.elements) == 1 + 3  # results, confusions


def test_hostile_text_stays_text() -> None:
    report = make_report(hostile=HOSTILE, title=HOSTILE, provenance={HOSTILE: HOSTILE})
    page = Page(render_report(report, {}))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "link"}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert HOSTILE in page.text


def test_hostile_names_of_suites_checkpoints_and_classes_stay_text() -> None:
    items = [make_item(HOSTILE, i, HOSTILE, "accuracy", (HOSTILE, "b")) for i in range(3)]
    predictions = predict(items, {HOSTILE: [HOSTILE] * 3, "[bold]b": ["b"] * 3})
    names = (HOSTILE, "[bold]b")
    report = make_report(checkpoints=names, items=items, predictions=predictions)
    page = Page(render_report(report, {f"{HOSTILE}-clip0": FLAC}))
    assert not {tag for tag, _ in page.elements} & {"script", "img"}
    assert "[bold]b" in terminal_text(report)


def test_the_page_asks_the_network_for_nothing() -> None:
    page = render_report(make_report(), {})
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    resources = [
        value
        for _, attributes in Page(page).elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href") and value is not None
    ]
    assert all(value.startswith(("data:", "#")) for value in resources)
    assert not re.search(r"url\((?!#)", page)


def test_ids_inside_the_plots_are_unique_and_every_reference_resolves() -> None:
    page = render_report(make_report(), {})
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?: href="#|url\(#)([^")]*)', page)
    assert references
    assert set(references) <= set(ids)


def test_the_terminal_table_has_a_row_a_suite() -> None:
    text = terminal_text(make_report())
    assert re.search(r"sound\W+accuracy ↑\W+30\W+33\.3% \[.*90\.0% \[.*100\.0% \[", text)
    assert re.search(r"asr\W+WER ↓\W+4\W.*none", text)


def test_a_missing_answer_is_refused() -> None:
    items = [make_item("asr", 0, "a", "wer"), make_item("asr", 1, "b", "wer")]
    predictions = predict(items, {"base": ["a", "b"]})[:1]
    with pytest.raises(ValueError, match="'base' has no answer to item 'asr1' of suite 'asr'"):
        make_report(checkpoints=("base",), items=items, predictions=predictions)


def test_a_suite_with_two_metrics_is_refused() -> None:
    items = [make_item("asr", 0, "a", "wer"), make_item("asr", 1, "b", "cer")]
    with pytest.raises(ValueError, match=r"'asr' mixes the metrics \['cer', 'wer'\]"):
        make_report(items=items, predictions=[])


def test_suites_that_no_report_can_be_made_of_are_refused_before_they_are_answered() -> None:
    known = make_item("asr", 0, "a", "wer")
    check_suites([known])
    with pytest.raises(ValueError, match="no metric is called 'rouge'"):
        check_suites([known, make_item("summary", 0, "a", "rouge")])


def test_a_result_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="no result for suite 'lid' at checkpoint 'sft'"):
        make_report().result("lid", "sft")
