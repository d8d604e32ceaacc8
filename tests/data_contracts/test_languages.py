"""The languages that a row may name."""

from data_contracts.languages import LANGUAGES


def test_languages_are_the_183_codes_of_iso_639_1_and_cantonese_with_names_of_their_own() -> None:
    assert len(LANGUAGES) == len(set(LANGUAGES.values())) == 184
    two_letters = LANGUAGES.keys() - {"yue"}
    assert all(len(code) == 2 and code.isascii() and code.islower() for code in two_letters)
    assert [LANGUAGES[code] for code in ("en", "zh", "es", "el", "uk")] == [
        "English",
        "Chinese",
        "Spanish",
        "Greek",
        "Ukrainian",
    ]
