"""A small evaluation with every shipped metric, and the pieces of which tests make others."""

import io
from collections.abc import Mapping, Sequence

from rich.console import Console

from data_contracts.answer_records import EvaluationItem, Prediction
from data_contracts.records import Conversation, Turn
from tasks.evaluation.metrics.table import METRICS, MetricTable
from tasks.evaluation.report import Report, format_table

CHECKPOINTS = ("base", "sft", "dpo")
_SOUNDS = ("cat", "dog", "rain", "siren")
_MODES = ("The capital of France is Paris.", "The capital of Spain is Madrid.")
_ENGLISH = "Detect the language and recognize the speech: <|en|>"
_ANSWERS: dict[str, list[tuple[str, tuple[str, str, str]]]] = {
    "digits": [
        ("3 7 1", ("", "3 1", "3 7 1")),
        ("0 4", ("04", "0 4", "0 4 4")),
        ("9 9 2 6", ("9 2 6", "9 9 2 6", "9 9 2 6")),
    ],
    "asr": [
        ("I do not see twenty-one dogs.", ("the", "i don't see 21 dogs", "I do not see 20 dogs.")),
        ("L'été, ça va!", ("", "l'ete ca va", "<|fr|>l'été ça va")),
        ("你好，世界。", ("你", "你好 世间", "你好，世界。")),
        ("안녕 세상", ("", "안녕세상", "안녕 세상아")),
    ],
    "s2tt": [
        ("The cat sits on the mat.", ("The", "The cat sat on the mat today.", "A cat sits.")),
        ("Rain.", ("", "Rain.", "It rains.")),
        ("Two children play with a red ball.", ("a a a", "Two kids play with red balls", "")),
        ("A dog barks loudly in the yard.", ("", "A dog barks loudly in the yard.", "A dog.")),
        ("一只狗在院子里大声地叫。", ("一", "一只狗在院子里叫。", "一只狗在院子里大声地叫。")),
    ],
    "sound": [
        ("cat", ("dog", "cat", "Cat.")),
        ("dog", ("dog", "dog", "a dog")),
        ("dog", ("dog", "cat", "dog")),
        ("rain", ("", "rain", "rain")),
        ("siren", ("moo", "rain", "siren")),
    ],
    "ser": [
        ("cat", ("cat", "cat", "cat")),
        ("rain", ("cat", "rain", "dog")),
        ("rain", ("cat", "", "rain")),
    ],
    "preference": [
        ("It rains.", ("No.", "It rains.", "It rains.")),
        ("Yes.", ("No.", "No.", "Yes.")),
    ],
    "choice": [
        ("B. a dog", ("a dog", "B", "The answer is B.")),
        ("A. a cat", ("B. a dog", "A", "It is C.")),
        ("D. rain", ("", "D. rain", "D")),
    ],
    "dual_mode": [
        (_MODES[0], ("English", "The capital of Spain is Madrid.", _MODES[0])),
        (_MODES[1], ("dog", "Spain", "the capital of spain is madrid")),
    ],
}
_METRICS = {
    "digits": "wer",
    "asr": "cer",
    "s2tt": "bleu",
    "sound": "balanced_accuracy",
    "ser": "accuracy",
    "preference": "accuracy",
    "choice": "choice",
    "dual_mode": "dual_mode",
}


def items() -> list[EvaluationItem]:
    """The questions, suite after suite; the names of the suites are those of their tasks."""
    return [
        _item(suite, number, reference)
        for suite, answers in _ANSWERS.items()
        for number, (reference, _) in enumerate(answers)
    ]


def predictions() -> list[Prediction]:
    """The answers of all checkpoints; their scores are left to the report."""
    return [
        Prediction(
            id=f"{suite}{number}",
            suite=suite,
            checkpoint=checkpoint,
            reference=reference,
            hypothesis=hypotheses[index],
            score=0,
        )
        for index, checkpoint in enumerate(CHECKPOINTS)
        for suite, answers in _ANSWERS.items()
        for number, (reference, hypotheses) in enumerate(answers)
    ]


def _item(suite: str, number: int, reference: str) -> EvaluationItem:
    choices = {
        "sound": _SOUNDS,
        "ser": _SOUNDS[:3],
        "preference": (reference, "No."),
        "dual_mode": _MODES,
    }
    turns = (
        Turn(role="user", text=_ENGLISH if number == 0 else "", audio=(f"{suite}-clip{number}",)),
        Turn(role="assistant", text=reference),
    )
    conversation = Conversation(id=f"{suite}{number}", format="completion", turns=turns, task=suite)
    return EvaluationItem.model_validate(
        {
            "conversation": conversation,
            "suite": suite,
            "metric": _METRICS[suite],
            "choices": choices.get(suite, ()),
        }
    )


def make_item(
    suite: str, number: int, reference: str, metric: str, choices: tuple[str, ...] = ()
) -> EvaluationItem:
    """A question about one clip, in a suite that is called like its task."""
    turns = (
        Turn(role="system", text="You are a helpful assistant."),
        Turn(role="user", text=f"Question {number}?", audio=(f"{suite}-clip{number}",)),
        Turn(role="assistant", text=reference),
    )
    conversation = Conversation(id=f"{suite}{number}", format="chat", turns=turns, task=suite)
    return EvaluationItem(conversation=conversation, suite=suite, metric=metric, choices=choices)


def predict(
    items: Sequence[EvaluationItem],
    answers: Mapping[str, Sequence[str]],
    metrics: MetricTable = METRICS,
) -> list[Prediction]:
    """The answers of each checkpoint, in the order of the items, with their scores."""
    return [
        Prediction(
            id=item.conversation.id,
            suite=item.suite,
            checkpoint=checkpoint,
            reference=item.conversation.answer,
            hypothesis=answer,
            score=metrics.named(item.metric).score(item, answer),
        )
        for checkpoint, given in answers.items()
        for item, answer in zip(items, given, strict=True)
    ]


def terminal_text(report: Report, metrics: MetricTable = METRICS) -> str:
    """What a wide terminal shows of a report."""
    console = Console(file=io.StringIO(), width=400, record=True)
    console.print(format_table(report, metrics))
    return console.export_text()
