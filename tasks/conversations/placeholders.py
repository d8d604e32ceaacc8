"""Placeholders in the prompts of tasks, and what a clip puts in their place."""

import re
from collections.abc import Collection
from string import Formatter

from data_contracts.languages import LANGUAGES
from data_contracts.records import PackedClip

PLACEHOLDERS = ("language", "target", "target_code", "question", "caption_style")
"""`{language}`: code of the speech; a prompt loses its tag where it is unknown. `{target}`,
`{target_code}`: name and code of the language of the translation. `{question}`: the clip's.
`{caption_style}`: the predecessor's tag for the captions of a corpus."""
CAPTION_STYLES = {
    "clotho": "caption_clotho",
    "audiocaps": "caption_audiocaps",
    "musiccaps": "music_description",
}
"""By corpus; captions of all others are plain."""
PLAIN_CAPTION = "caption_plain"
_LANGUAGE_TAG = re.compile(r"\s*<\|\{language\}\|>")
_UNKNOWN = "unknown"
"""Tag of the predecessor for a language that it does not know."""
_PUBLISHED_NAMES = {"zh": "Mandarin"}
"""Languages that the published prompts call otherwise than `LANGUAGES` does."""


def fill(text: str, clip: PackedClip) -> str:
    """Return a prompt with the placeholders replaced by what the clip says of itself.

    A prompt says nothing of a language that is unknown: the tag for it is left out.
    """
    return fill_tags(text if clip.language else _LANGUAGE_TAG.sub("", text), clip)


def fill_tags(text: str, clip: PackedClip) -> str:
    """Return a text with the placeholders replaced, with `unknown` for a language that is."""
    target = clip.target_language
    return text.format(
        language=clip.language or _UNKNOWN,
        target=_PUBLISHED_NAMES.get(target, LANGUAGES[target]),
        target_code=target,
        question=clip.question,
        caption_style=CAPTION_STYLES.get(clip.source, PLAIN_CAPTION),
    )


def check_placeholders(text: str, allowed: Collection[str]) -> None:
    """Refuse a text that could not be filled.

    Raises:
        ValueError: a brace is open, or holds another name than those that are allowed.
    """
    try:
        names = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ValueError(
            f"{text!r:.80} can't be filled: {error}; write {{{{ for a brace"
        ) from error
    if wrong := sorted(names - set(allowed)):
        raise ValueError(
            f"{text!r:.80} has {{{wrong[0]}}}; what can be filled is "
            + ", ".join(f"{{{name}}}" for name in allowed)
        )
