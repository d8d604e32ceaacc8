"""Normal form in which sentences are compared: two that differ in it are two sentences."""

import re
import unicodedata

_NOT_WORDS = re.compile(r"[\W_]+")


def normalise(text: str) -> str:
    """Unify compatibility forms, fold case, and replace punctuation and spaces by single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_WORDS.sub(" ", folded).strip()
