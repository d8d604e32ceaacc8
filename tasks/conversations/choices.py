"""Reads which letter of a multiple choice an answer names, as AIR-Bench's score_foundation does."""

import re

_LISTED = re.compile(r"^\W*([A-Z])(?!\w)", re.MULTILINE)
"""A line that begins with a letter of its own, such as "E. a train" and "(F) a car"."""


def chosen_letter(answer: str, question: str) -> str | None:
    """Return the letter that an answer names: one of A to D, or another that the question lists.

    It is the first character, else the one before the last ("It is B."). A letter after D has to
    stand alone, since it may belong to a word; AIR-Bench, which has none, does not ask for that.
    """
    text = answer.replace("\n", "")
    listed = set(_LISTED.findall(question))
    for letter, neighbour in ((text[:1], text[1:2]), (text[-2:-1], text[-3:-2])):
        if letter in set("ABCD") or (letter in listed and not neighbour.isalnum()):
            return letter
    return None
