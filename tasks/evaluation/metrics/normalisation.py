"""Normal forms in which texts are compared: without tags, as labels, as transcripts."""

import re
from functools import cache

from transformers.models.whisper.english_normalizer import (
    BasicTextNormalizer,
    EnglishTextNormalizer,
)

from data_contracts.answer_records import EvaluationItem

_TAG = re.compile(r"<\|[^|]*\|>")
_LANGUAGE_TAG = re.compile(r"<\|([a-z]{2,3})\|>")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_KANA_OR_HANGUL = re.compile("[\u3040-\u30ff\uac00-\ud7af]")


def strip_tags(text: str) -> str:
    """Return `text` without `<|...|>` tags and without space around it."""
    return _TAG.sub("", text).strip()


def normalise_label(text: str) -> str:
    """Return the form in which labels are compared: no tags, case, punctuation, doubled spaces."""
    return str(_basic()(strip_tags(text))).strip()


def normalise_transcript(item: EvaluationItem, text: str) -> str:
    """Return `text` as the error rates see it: units of comparison separated by single spaces.

    English (a `<|en|>` tag in the prompt or in the reference) passes Whisper's English normaliser,
    with its contractions and numbers but without its table of British spellings, which belongs
    to a checkpoint; all else passes Whisper's basic one. Digit strings stay as they are: the
    English normaliser would join "3 7 1". A text is compared character by character where its
    reference is written in Han, kana or Hangul.
    """
    text = strip_tags(text)
    if item.conversation.task == "digits":
        return " ".join(text.split())
    tag = _LANGUAGE_TAG.search(" ".join(turn.text for turn in item.conversation.turns))
    normaliser = _english() if tag is not None and tag[1] == "en" else _basic()
    words = str(normaliser(text)).split()
    return " ".join("".join(words) if _is_written_by_character(item) else words)


def is_mandarin(text: str) -> bool:
    """Return whether `text` has Han characters and neither kana nor Hangul."""
    return _HAN.search(text) is not None and _KANA_OR_HANGUL.search(text) is None


def _is_written_by_character(item: EvaluationItem) -> bool:
    """More than half of the reference's letters belong to a script without (or with long) words."""
    letters = [letter for letter in strip_tags(item.conversation.answer) if letter.isalpha()]
    wide = [letter for letter in letters if _HAN.match(letter) or _KANA_OR_HANGUL.match(letter)]
    return 2 * len(wide) > len(letters)


@cache
def _english() -> EnglishTextNormalizer:
    return EnglishTextNormalizer({})


@cache
def _basic() -> BasicTextNormalizer:
    return BasicTextNormalizer()
