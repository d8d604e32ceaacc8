"""Any text as a name in MLflow: accepted by MLflow's own rules, and never another text's name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric, _validate_model_name, _validate_tag

from infra.tracking_names import registered_model_name, storable, tracking_name

TRICKY = st.text(st.sampled_from("/._x28a- :(\n\0"), max_size=12)
TEXTS = (
    TRICKY
    | st.text(st.characters(exclude_categories=()))
    | st.builds(lambda a, b: a + "(" * 120 + b, TRICKY, TRICKY)
)


def text_of(name: str) -> str:
    """Undo the escapes of a short name."""
    text = re.sub("_x([0-9a-f]+)_", lambda match: chr(int(match[1], 16)), name)
    return "" if text == "_xempty_" else text


@given(TEXTS)
def test_mlflow_takes_every_text_as_a_name(text: str) -> None:
    _validate_metric(tracking_name(text), 0.5, 0, 0)
    _validate_tag(tracking_name(text), "value")
    _validate_model_name(registered_model_name(text))
    assert "'" not in registered_model_name(text)
    assert len(registered_model_name(text)) <= 250


@given(TEXTS)
def test_a_short_name_can_be_undone_so_no_other_text_has_it(text: str) -> None:
    for name in (tracking_name(text), registered_model_name(text)):
        assert len(name) == 250 or text_of(name) == text


@given(TEXTS, TEXTS)
def test_two_long_texts_or_a_long_and_a_short_one_have_two_names(one: str, other: str) -> None:
    long = one + "x" * 251
    assert tracking_name(long) != tracking_name(other + "y" * 250)
    assert tracking_name(long) != tracking_name(other)
    cut = tracking_name(long)
    assert tracking_name(cut) != cut


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "mixture/corpus/fsdd/share",
        "final.librispeech test-clean: asr",
        "mixture/language/none/wanted_share",
        "replay:asr.wer_x",
        "größe/日本語",
        ".hidden/a.b",
    ],
)
def test_usual_names_stay_what_they_are(name: str) -> None:
    assert tracking_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("asterisk (2026)", "asterisk _x28_2026_x29_"),
        ("", "_xempty_"),
        ("..", "_x2e_."),
        ("a//b/", "a_x2f_/b_x2f_"),
        ("_x28_", "_x5f_x28_"),
    ],
)
def test_what_mlflow_refuses_becomes_its_code_point(text: str, name: str) -> None:
    assert tracking_name(text) == name


def test_a_value_that_no_database_takes_is_spelled_out() -> None:
    assert storable("größe") == "größe"
    assert storable("a\0b\udcff") == "a\\x00b\\udcff"
