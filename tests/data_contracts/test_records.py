import pytest
from pydantic import ValidationError

from data_contracts.answer_records import PreferencePair
from data_contracts.records import Clip, Conversation, Turn

QUESTION = Turn(role="user", text="What is it?", audio=("c1", "c2"))
ANSWER = Turn(role="assistant", text="A dog.")


def chat(*turns: Turn) -> Conversation:
    return Conversation(id="d1", format="chat", turns=turns, task="sound")


def test_the_short_form_of_a_clip_is_the_long_form_with_one_target() -> None:
    short = {"id": "a", "audio": "a.ogg", "task": "asr", "text": "Hello."}

    clip = Clip.model_validate(short)

    assert clip == Clip(id="a", audio="a.ogg", targets={"asr": "Hello."})
    assert short == {"id": "a", "audio": "a.ogg", "task": "asr", "text": "Hello."}


def test_a_short_form_without_text_is_an_empty_target_for_the_contract_to_find() -> None:
    clip = Clip.model_validate({"id": "a", "audio": "a.ogg", "task": "asr"})

    assert clip.targets == {"asr": ""}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("audio", ""),
        ("targets", {"Singing!": "la"}),
        ("split", "validation"),
        ("kind", "noise"),
        ("langauge", "en"),
        *((field, "half a pair \ud800") for field in ("phrase", "speaker", "source", "license")),
    ],
)
def test_a_clip_refuses_a_wrong_value_and_names_its_field(field: str, value: object) -> None:
    row = {"id": "a", "audio": "a.ogg", "targets": {}} | {field: value}

    with pytest.raises(ValidationError) as caught:
        Clip.model_validate(row)

    assert caught.value.errors()[0]["loc"][0] == field


def test_both_forms_of_targets_at_once_are_refused() -> None:
    row = {"id": "a", "audio": "a.ogg", "targets": {}, "task": "asr", "text": "Hello."}

    with pytest.raises(ValidationError, match="task"):
        Clip.model_validate(row)


def test_a_record_can_not_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        QUESTION.text = "Another"  # type: ignore[misc]


def test_a_conversation_lists_its_clips_in_the_order_in_which_they_are_heard() -> None:
    again = Turn(role="user", audio=("c0", "c1"))

    assert chat(QUESTION, ANSWER, again, ANSWER).clip_ids == ("c1", "c2", "c0", "c1")


def test_prompt_and_answer_are_what_comes_before_the_last_answer_and_its_text() -> None:
    whole = chat(QUESTION, ANSWER, QUESTION, Turn(role="assistant", text="A cat."))

    assert whole.prompt == (QUESTION, ANSWER, QUESTION)
    assert whole.answer == "A cat."
    assert chat(QUESTION).prompt == (QUESTION,)


def test_a_conversation_without_an_answer_says_whose_turn_is_last() -> None:
    with pytest.raises(ValueError, match="'d1' ends with 'user'"):
        _ = chat(QUESTION).answer


def test_the_margin_is_the_chosen_score_above_the_rejected() -> None:
    pair = PreferencePair(
        id="p",
        prompt=chat(QUESTION),
        chosen="A dog.",
        rejected="A cat.",
        chosen_score=-1.0,
        rejected_score=-3.5,
        ranker="rule",
    )

    assert pair.margin == 2.5


ASKED = [{"role": "user", "text": "Which bird?"}, {"role": "assistant", "text": "A wren."}]


def spoken_row(**fields: object) -> dict[str, object]:
    return {"id": "a", "audio": "a.wav", "conversation": ASKED} | fields


def test_a_rejected_answer_makes_the_last_answer_the_preferred_one() -> None:
    clip = Clip.model_validate(spoken_row(rejected="A dog."))
    assert (clip.conversation[-1].text, clip.rejected) == ("A wren.", "A dog.")


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"conversation": ASKED[:1]}, "needs a conversation that ends with the assistant's"),
        ({"conversation": [], "targets": {"asr": "a"}}, "needs a conversation"),
        ({"rejected": " A wren.\n"}, "is empty or the preferred answer itself"),
        ({"rejected": " "}, "is empty or the preferred answer itself"),
    ],
)
def test_a_rejected_answer_without_a_better_one_is_refused(
    fields: dict[str, object], rule: str
) -> None:
    with pytest.raises(ValidationError, match=rule):
        Clip.model_validate(spoken_row(rejected="A dog.") | fields)


def test_rows_without_a_rejected_answer_are_written_as_before_there_were_any() -> None:
    """Bytes of finished corpora and digests of sources stay what they were."""
    clip = Clip.model_validate(spoken_row())
    assert "rejected" not in clip.model_dump() | clip.model_dump(mode="json")
    assert "rejected" not in clip.model_dump_json()
