"""The letter that an answer to a multiple choice names."""

from string import ascii_uppercase

import pytest

from data_contracts.records import Clip
from tasks.conversations.choices import chosen_letter
from tasks.conversations.task_table import shipped_tasks

TEN = "Which animal?\n" + "\n".join(f"{letter}. animal {letter}" for letter in "ABCDEFGHIJ")
FOUR = "Which animal?\nA. a cat\nB. a dog\nC. a cow\nD. a hen"


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("J. animal J", "J"),
        ("G", "G"),
        ("It is H.", "H"),
        ("It is B.", "B"),  # "I" stands in the list, but begins a word here
        ("(E)", "E"),
        ("K. a horse", None),
        ("Goose", None),
        ("a FROG.", None),
        ("Dog", "D"),  # as AIR-Bench reads it
        ("", None),
    ],
)
def test_letters_are_those_that_the_question_lists(answer: str, letter: str | None) -> None:
    assert chosen_letter(answer, TEN) == letter


def test_a_question_may_have_26_choices_in_any_form() -> None:
    for form in ("{}. x", "({}) x", "{}) x", "{}: x", "{}"):
        question = "\n".join(["Which?", *(form.format(letter) for letter in ascii_uppercase)])
        assert [chosen_letter(f"{c}.", question) for c in ascii_uppercase] == list(ascii_uppercase)


def test_a_question_of_four_choices_is_read_as_ever() -> None:
    answers = ["A. a cat", "D", "It is C.", "E", "Because", "no"]
    assert [chosen_letter(a, FOUR) for a in answers] == ["A", "D", "C", None, "B", None]


def test_a_row_whose_answer_names_no_choice_is_no_row() -> None:
    row = {"id": "a", "audio": "a.wav", "question": TEN}
    right = Clip.model_validate(row | {"targets": {"choice": "J. animal J"}})
    wrong = Clip.model_validate(row | {"targets": {"choice": "K. animal K"}})
    assert shipped_tasks().problem(right) is None
    problem = shipped_tasks().problem(wrong)
    assert problem == "targets.choice: 'K. animal K' names no choice; write it as 'B. a dog'"
