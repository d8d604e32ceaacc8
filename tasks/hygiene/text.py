"""Keys of texts for finding repeated ones: equal once normalised, or nearly equal (banded MinHash).

Near duplicates after Broder, "On the resemblance and containment of documents" (1997): the share of
equal minimal hashes of two texts' 4-grams estimates their Jaccard similarity. Texts whose minima
agree in a whole band are compared, so the work does not grow with the square of their number.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.normalised_text import normalise
from data_contracts.records import PackedClip, TaskName
from data_contracts.split_leaks import SPLIT_ORDER

SENTENCE = np.dtype(
    [
        ("key", "<u8"),
        ("recording", "<i8"),
        ("begin", "<i8"),
        ("end", "<i8"),
        ("rank", "i1"),
        ("task", "i1"),
    ]
)
"""A held-out text: hash of task, language and text; number of its recording; range of its bytes in
`Texts.words`; index of its split in `SPLITS` and of its task in `TASKS`."""
CONVERSATION = "conversation"
TASKS = (
    "asr", "s2tt", "lid", "digits", "sound", "caption", "vocal", "ser", "instrument", "family",
    "voice_chat", "choice", CONVERSATION,
)  # fmt: skip
"""Their indices are stored in files: a new name comes last."""
ASKED = frozenset({"choice", CONVERSATION})
"""Question and answer together. Many recordings may share a question, so this stops no run."""
BAND = np.dtype([("key", "<u8"), ("sentence", "<i8")])
"""Key that similar texts share: hash of task, language and a band's minima. Texts of `ASKED` have
none: questions that follow one pattern are all similar."""

HELD_OUT_TASKS: tuple[TaskName, ...] = ("asr", "s2tt", "voice_chat")
"""Tasks whose recorded sentences can be compared."""
_SPELLED: tuple[TaskName, ...] = ("asr", "s2tt")
"""Targets that are the spoken sentence itself. The answer of a voice chat is not: its question is
the transcript, or the phrase of the row."""
_SHINGLE = 4
"""Characters of a shingle."""
_BANDS, _ROWS = 20, 4
"""Two texts of similarity s meet in a band with 1 - (1 - s^4)^20: 0.98 for 0.65, 0.15 for 0.3."""
_PRIME = np.uint64((1 << 31) - 1)
_MIN_SHINGLES = 8


@dataclass(frozen=True)
class Texts:
    """Held-out texts of recordings, which are known by their numbers."""

    words: NDArray[np.uint8]
    """[bytes]: normalised texts in UTF-8, concatenated."""
    sentences: NDArray[Any]
    """[texts] of SENTENCE."""
    bands: NDArray[Any]
    """[20 per text that is long enough] of BAND."""

    @classmethod
    def of(cls, rows: Sequence[PackedClip], held_out: Collection[TaskName]) -> "Texts":
        """Collect the texts of rows that no other split may have: tasks `held_out` and `ASKED`."""
        words, bands = bytearray(), [np.zeros(0, BAND)]
        sentences: list[tuple[int, ...]] = []
        for recording, row in enumerate(rows):
            for task, language, text in held_out_texts(row, held_out):
                group, begin = f"{task} {language}", len(words)
                words += text.encode()
                keys = np.zeros(0, np.uint64) if task in ASKED else band_keys(group, text)
                own = np.empty(len(keys), BAND)
                own["key"], own["sentence"] = keys, len(sentences)
                bands.append(own)
                rank, number = SPLIT_ORDER[row.split], TASKS.index(task)
                key = text_key(group, text)
                sentences.append((key, recording, begin, len(words), rank, number))
        return cls(
            np.frombuffer(words, np.uint8), np.array(sentences, SENTENCE), np.concatenate(bands)
        )

    def text(self, sentence: NDArray[Any]) -> str:
        """Normalised text of an entry of `sentences`."""
        return self.words[sentence["begin"] : sentence["end"]].tobytes().decode()


def held_out_texts(
    row: PackedClip, held_out: Collection[TaskName]
) -> Iterator[tuple[str, str | None, str]]:
    """Task, language and normalised text of each text of a row that no other split may have."""
    if "choice" in row.targets:
        yield "choice", row.language, normalise(f"{row.question}\n{row.targets['choice']}")
    if row.conversation:
        said = "\n".join(f"{turn.role}: {turn.text}" for turn in row.conversation)
        yield CONVERSATION, row.language, normalise(said)
    if row.kind != "speech":
        return  # digits, questions and commands repeat their sentences: the voice is held out
    for task in _SPELLED:
        if task in held_out and (text := normalise(row.targets.get(task, ""))):
            yield task, row.language if task == "asr" else row.target_language, text
    asks = "voice_chat" in held_out and "voice_chat" in row.targets
    if asks and (text := normalise(row.targets.get("asr") or row.phrase or "")):
        yield "voice_chat", row.language, text


def text_key(group: str, text: str) -> int:
    """Hash of 64 bits that differs for different texts of a group, but for one in 2^64 pairs."""
    data = f"{group}\n{text}".encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def band_keys(group: str, text: str) -> NDArray[np.uint64]:
    """One hash per band, the same in every process; none for texts below 11 characters, where one
    letter makes another word.
    """
    codes = np.unique(_shingle_codes(text))
    if len(codes) < _MIN_SHINGLES:
        return np.zeros(0, np.uint64)
    minima = ((codes[:, None] * _FACTORS + _TERMS) % _PRIME).min(0)
    # Modulo 2^64. A number of its own keeps each band apart, and the group's key each group.
    keys: NDArray[np.uint64] = (minima * _MIX).reshape(_BANDS, _ROWS).sum(1)
    return keys + _MIX[:_BANDS] ^ np.uint64(text_key(group, ""))


def shingles(text: str) -> frozenset[str]:
    """All character 4-grams of a normalised text; a shorter text is its only one."""
    last = max(len(text) - _SHINGLE, 0)
    return frozenset(text[start : start + _SHINGLE] for start in range(last + 1))


def jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    """Jaccard similarity: size of the intersection over that of the union."""
    return len(first & second) / len(first | second)


def _shingle_codes(text: str) -> NDArray[np.uint64]:
    """Numbers below 2^31, one for each 4-gram."""
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    codes = np.zeros(max(len(points) - _SHINGLE + 1, 0), np.uint64)
    for offset in range(_SHINGLE):
        codes = (codes * np.uint64(0x10FFFF) + points[offset : offset + len(codes)]) % _PRIME
    return codes


def _coefficients(seed: int, most: int) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(1, most, _BANDS * _ROWS, np.uint64)


_FACTORS, _TERMS = (_coefficients(seed, int(_PRIME)) for seed in (0, 1))
_MIX = _coefficients(2, (1 << 64) - 1)
