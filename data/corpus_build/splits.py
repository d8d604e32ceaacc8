"""The rules that decide which split a recording belongs to, and the keys that show a leak."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

TEST_SHARE = 0.18
DEV_SHARE = 0.07
EFFECT_TEST_SHARE = 0.25
EFFECT_DEV_SHARE = 0.08
LARGE_STRATUM = 12
LEAST_TEST = 4

# These speakers appear in one split only, so that language identification and digits are
# measured on voices that training never heard. ast_en and ast_es are one person.
HELD_OUT_SPEAKERS = {
    "ast_en": "test",
    "ast_es": "test",
    "ast_es-co": "test",
    "ast_fr-armelle": "test",
    "ktub_ca": "test",
    "ktub_da": "test",
    "ktub_el": "test",
    "ktub_it": "test",
    "ktub_nl": "test",
    "ktub_ro": "test",
    "ktub_ru": "test",
    "ktub_en": "dev",
    "ktub_es": "dev",
    "ktub_fr": "dev",
    "esp_en-gb-scotland": "dev",
    "fl_rms": "test",
}

# Recordings that are alike under different names (found by cross-correlation of all pairs, or one
# guitar take with several effects): the left one takes the key of the right one.
NEAR_DUPLICATES = {
    "lmms/steel_guitar_heavy_distorted": "lmms/steel_guitar",
    "lmms/steel_guitar_medium_distorted": "lmms/steel_guitar",
    "lmms/steel_guitar_slight_distorted": "lmms/steel_guitar",
    "sonic-pi/drum_heavy_kick": "lmms/bassdrum_acoustic",
    "sonic-pi/tabla_te_m": "sonic-pi/tabla_te",
    "tuxpaint/ram": "tuxpaint/goat",
}


def phrase_key(english: str) -> str:
    """Normal form of an English sentence: no case, punctuation or leading article."""
    plain = unicodedata.normalize("NFKC", english).casefold().replace("’", "'")
    words = re.sub(r"[^\w' ]+", " ", plain).split()
    if len(words) > 1 and words[0] in {"a", "an", "the"}:
        words = words[1:]
    return " ".join(words)


def _position(key: str) -> float:
    """A number in [0, 1) that depends on the key alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def split_of_phrase(phrase: str) -> str:
    """Split of a sentence and of all its translations."""
    position = _position(phrase)
    if position < TEST_SHARE:
        return "test"
    return "dev" if position < TEST_SHARE + DEV_SHARE else "train"


def split_of_speaker(speaker: str) -> str:
    """Split of a recording that is held out by voice, not by sentence."""
    return HELD_OUT_SPEAKERS.get(speaker, "train")


def effect_key(source: str, stem: str) -> str:
    """Key that takes of the same thing share: trailing number and soft or hard removed."""
    name = re.sub(r"(?<=[^\d])\d+$", "", re.sub(r"[-_.]\d+$", "", stem.lower()))
    name = re.sub(r"[-_](soft|hard)$", "", name)
    key = f"{source}/{name}"
    return NEAR_DUPLICATES.get(key, key)


@dataclass(frozen=True)
class Effect:
    """What the split of sound effects needs to know about one recording."""

    key: str
    stratum: str


def _split_stratum(sizes: Counter[str]) -> dict[str, str]:
    """Split of the keys of one stratum, given the number of recordings of each.

    Keys go to test, then to dev, in an order that depends on the keys alone, as long as there is
    room; the first key always stays in training. Even a small stratum has room for one test key.
    """
    total = sum(sizes.values())
    least = LEAST_TEST if total >= LARGE_STRATUM else min(sizes.values())
    room = {
        "test": max(round(EFFECT_TEST_SHARE * total), least),
        "dev": round(EFFECT_DEV_SHARE * total),
    }
    splits: dict[str, str] = {}
    for key in sorted(sizes, key=_position)[1:]:
        for name in room:
            if sizes[key] <= room[name]:
                splits[key] = name
                room[name] -= sizes[key]
                break
    return {key: splits.get(key, "train") for key in sizes}


def split_effects(effects: Sequence[Effect]) -> dict[str, str]:
    """Split of every effect key, stratum by stratum."""
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for effect in effects:
        sizes[effect.stratum][effect.key] += 1
    splits: dict[str, str] = {}
    for stratum in sorted(sizes):
        splits |= _split_stratum(sizes[stratum])
    return splits
