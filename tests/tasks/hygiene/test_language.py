"""Texts in another script or language than their row names are found."""

import pytest

from data_contracts.languages import LANGUAGES
from data_contracts.normalised_text import normalise
from tasks.hygiene.language import Identifier, Sample, wrong_script
from tests.support.audio_copies import manifest_rows

ROWS = manifest_rows()


@pytest.mark.parametrize(
    ("text", "language", "script"),
    [
        ("доброе утро", "ru", None),
        ("dobroe utro", "ru", "LATIN"),
        ("доброе утро", "en", "CYRILLIC"),
        ("こんにちは 世界", "ja", None),
        ("42", "ru", None),
        ("добро јутро", "sr", None),
        ("dobro jutro", "sr", None),
        ("你今日食咗飯未呀", "yue", None),
        ("plain english", "yue", "LATIN"),
        ("plain english", "am", "LATIN"),
        ("ಶುಭೋದಯ", "kn", None),
        ("ಶುಭೋದಯ", "te", "KANNADA"),
        ("ສະບາຍດີ", "lo", None),
        ("ꆈꌠꉙ", "ii", None),
        ("plain english", "pi", None),
    ],
)
def test_the_script_of_most_letters_has_to_be_one_of_the_languages(
    text: str, language: str, script: str | None
) -> None:
    assert wrong_script(normalise(text), language) == script


def test_every_language_has_its_scripts_but_pali_which_is_written_with_any() -> None:
    unjudged = {code for code in LANGUAGES if wrong_script("ⴰⵣⵓⵍ", code) is None}
    assert unjudged == {"pi"}


def test_swapped_languages_are_found_by_their_letters_and_few_others_are_accused() -> None:
    spoken = [r for r in ROWS if "asr" in r["targets"]]
    texts = [normalise(r["targets"]["asr"]) for r in spoken]
    languages = [r["language"] for r in spoken]
    training = [r["split"] == "train" for r in spoken]

    def strange(claimed: list[str]) -> tuple[int, int, dict[int, str]]:
        sample = Sample()
        for language, text, trains in zip(claimed, texts, training, strict=True):
            if trains:
                sample.add(language, [text])
        identifier = Identifier(sample.texts())
        results = {
            number: result
            for number, (text, language) in enumerate(zip(texts, claimed, strict=True))
            if (result := identifier.identify(text, language))
        }
        agreed = sum(result.language == claimed[n] for n, result in results.items())
        suspicious = {n: r.language for n, r in results.items() if r.is_suspicious}
        return len(results), agreed, suspicious

    identified, agreed, accused = strange(languages)
    assert agreed / identified > 0.9
    assert len(accused) <= 3
    swapped = [
        number for number, text in enumerate(texts)
        if languages[number] == "cs" and len(text) >= 30 and not training[number]
    ][:20]  # fmt: skip
    assert len(swapped) == 20
    wrong = ["es" if number in swapped else code for number, code in enumerate(languages)]
    suspicious = strange(wrong)[2]
    detected = [number for number in swapped if suspicious.get(number) == "cs"]
    assert len(detected) >= 15  # of other voices' unseen sentences


def test_the_texts_that_a_language_is_learnt_from_do_not_depend_on_order_or_parts() -> None:
    texts = [f"text {number % 12_000}" for number in range(24_000)]
    whole, parts = Sample(), Sample()
    whole.add("en", texts)
    for begin in range(20_000, -1, -4000):
        part = Sample()
        part.add("en", texts[begin:][:4000])
        parts.add("en", part.texts()["en"])
    (kept,) = whole.texts().values()
    assert len(set(kept)) == len(kept) == 5000
    assert parts.texts() == {"en": kept}


def test_a_language_without_texts_is_not_learnt() -> None:
    sample = Sample()
    sample.add("en", [""])
    sample.add(None, ["text"])
    assert sample.texts() == {}
