"""Checks whether a transcript is in the language of its row: by script, then by n-grams.

The identifier is naive Bayes over character trigrams (Cavnar and Trenkle, 1994, for the idea),
trained on the corpus's own training transcripts; each is left out when it is scored itself. It
finds rows whose text and language were swapped; with few or short texts it gives no answer.
"""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from data_contracts.normalised_text import normalise
from data_contracts.records import PackedClip

_WRITTEN_IN: Mapping[str, str] = {
    "LATIN": "aa af ak an ay az bi bm br bs ca ch co cr cs cy da de ee en eo es et eu ff fi fj fo "
    "fr fy ga gd gl gn gv ha ho hr ht hu hz ia id ie ig ik io is it iu jv kg ki kj kl kr ku kw la "
    "lb lg li ln lt lu lv mg mh mi ms mt na nb nd ng nl nn no nr nv ny oc oj om pl pt qu rm rn ro "
    "rw sc se sg sk sl sm sn so sq sr ss st su sv sw tk tl tn to tr ts tw ty uz ve vi vo wa wo xh "
    "yo za zu",
    "CYRILLIC": "ab av az ba be bg bs ce cu cv kk ku kv ky mk mn os ru sr tg tk tt ug uk uz",
    "ARABIC": "ar az fa ff ha kk kr ks ku ms pa ps sd tk ug ur wo",
    "DEVANAGARI": "hi ks mr ne sa sd",
    "HEBREW": "he yi",
    "GREEK": "el",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka",
    "BENGALI": "as bn",
    "GURMUKHI": "pa",
    "GUJARATI": "gu",
    "ORIYA": "or",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "SINHALA": "si",
    "THAANA": "dv",
    "THAI": "th",
    "LAO": "lo",
    "TIBETAN": "bo dz",
    "MYANMAR": "my",
    "KHMER": "km",
    "MONGOLIAN": "mn",
    "ETHIOPIC": "am ti",
    "CANADIAN": "cr iu oj",
    "NKO": "bm",
    "ADLAM": "ff",
    "GLAGOLITIC": "cu",
    "AVESTAN": "ae",
    "YI": "ii",
    "HANGUL": "ko",
    "CJK": "ja ko yue za zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
}
"""Script, as the first word in Unicode's names of its letters -> languages that use it. Pali
is missing, since it is written with any."""
LEAST_LETTERS = 20
_LEAST_TEXTS, _MOST_TEXTS = 30, 5000
_MARGIN = 0.5
"""Nats a trigram by which another language must be likelier; the tests bound the false alarms among
the transcripts of the embedded corpus and the share of swapped languages that are found."""


def wrong_script(text: str, language: str | None) -> str | None:
    """Return the script of most letters if the language is not written with it, else None."""
    expected = [script for script, codes in _WRITTEN_IN.items() if language in codes.split()]
    letters = [character for character in text if character.isalpha()]
    if not expected or not letters:
        return None
    counts = Counter(unicodedata.name(letter, "UNKNOWN").split()[0] for letter in letters)
    script, _ = counts.most_common(1)[0]
    return None if script in expected else script


def transcript(row: PackedClip) -> str:
    """Normalised transcript of a row that has a language; empty where it has none."""
    return normalise(row.targets.get("asr", "")) if row.language else ""


class Sample:
    """Sample of distinct texts of each language, whatever the order in which they are added.

    It keeps the texts with the smallest hashes, at most 5,000 per language: enough to identify it.
    """

    def __init__(self) -> None:
        self._hashes: dict[str, dict[str, bytes]] = defaultdict(dict)

    def add(self, language: str | None, texts: Iterable[str]) -> None:
        """Add texts of a language; empty ones are skipped."""
        if not language:
            return
        hashes = self._hashes[language]
        hashes.update((text, _hash(text)) for text in texts if text and text not in hashes)
        if len(hashes) > 2 * _MOST_TEXTS:  # not each time: that would sort them over and over
            self._hashes[language] = _smallest(hashes)

    def texts(self) -> dict[str, list[str]]:
        """The sampled texts by language."""
        return {
            language: list(_smallest(hashes))
            for language, hashes in sorted(self._hashes.items())
            if hashes
        }


class Identification(NamedTuple):
    """The likeliest language of a text."""

    language: str
    margin: float
    """Nats a trigram by which it is likelier than the language of the row."""

    @property
    def is_suspicious(self) -> bool:
        """Whether the row's language is probably wrong."""
        return self.margin >= _MARGIN


class Identifier:
    """Identifies the language of a text, among those with enough texts to learn from."""

    def __init__(self, texts: Mapping[str, Collection[str]]) -> None:
        """Learn from distinct normalised texts by language."""
        known = {name: set(own) for name, own in texts.items() if len(own) >= _LEAST_TEXTS}
        self.languages = sorted(known)
        self._texts = known
        self._counts = {
            name: Counter(piece for text in known[name] for piece in _trigrams(text))
            for name in self.languages
        }
        pieces = sorted(set().union(*self._counts.values()))
        self._numbers = {piece: number for number, piece in enumerate(pieces)}
        counts = [[self._counts[name][piece] for name in self.languages] for piece in pieces]
        table = np.array(counts, float).reshape(len(pieces), len(self.languages))
        self._totals = table.sum(0) + len(pieces)
        self._logs = np.log(table + 1)

    def identify(self, text: str, language: str) -> Identification | None:
        """Identify the language of a normalised text by all learnt texts but this one.

        Args:
            language: that of the row, which `margin` refers to.

        Returns:
            None where the text is too short or the row's language is not among the known ones.
        """
        if language not in self._texts or len(self.languages) < 2 or len(text) < LEAST_LETTERS:
            return None
        pieces = _trigrams(text)
        numbers = [self._numbers[piece] for piece in pieces if piece in self._numbers]
        scores = self._logs[numbers].sum(0) / len(pieces) - np.log(self._totals)
        claimed = self.languages.index(language)
        if text in self._texts[language]:
            own, counts = Counter(pieces), self._counts[language]
            rest = np.array([counts[piece] - own[piece] for piece in pieces])
            scores[claimed] = np.log((rest + 1) / (self._totals[claimed] - len(pieces))).mean()
        best = int(np.argmax(scores))
        return Identification(self.languages[best], float(scores[best] - scores[claimed]))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _smallest(hashes: Mapping[str, bytes]) -> dict[str, bytes]:
    """The texts with the smallest hashes, in their order."""
    return dict(sorted(hashes.items(), key=lambda item: (item[1], item[0]))[:_MOST_TEXTS])


def _trigrams(text: str) -> list[str]:
    padded = f" {text} "
    return [padded[start : start + 3] for start in range(len(padded) - 2)]
