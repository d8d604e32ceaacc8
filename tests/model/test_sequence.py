"""Rendering equals the processor's, marks answers only, and lets no text steer the format."""

import re
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen2AudioProcessor

from data_contracts.records import Conversation, Turn
from model.sequence import SequenceError, letters, render, render_answer
from model.tokenizer import CONTROL_TOKENS, END_OF_TEXT
from tests.support.oracle import (
    CLIPS,
    CONVERSATIONS,
    TOKENS_PER_CLIP,
    chat,
    completion,
    prompt_of,
    tokens_of,
)

THREE_TURNS = chat(
    "three turns of audio",
    ("user", "What is the sound?", ("even",)),
    ("assistant", "A dog.", ()),
    ("user", "", ("odd", "shortest")),
    ("assistant", "Rain falls.", ()),
    ("user", "And this?", ("even too",)),
    ("assistant", "The lazy dog.", ()),
)
CHATS = [*(c for c in CONVERSATIONS if c.format == "chat"), THREE_TURNS]


def messages(turns: tuple[Turn, ...]) -> list[dict[str, object]]:
    return [
        {
            "role": turn.role,
            "content": [
                *({"type": "audio", "audio_url": clip} for clip in turn.audio),
                {"type": "text", "text": turn.text},
            ],
        }
        for turn in turns
    ]


def reference_ids(
    text: str, conversation: Conversation, processor: Qwen2AudioProcessor
) -> list[int]:
    """The reference processor's ids, its audio tokens expanded by its own feature extractor."""
    audio = [CLIPS[clip].numpy() for clip in conversation.clip_ids] or None
    inputs = processor(text=text, audio=audio, sampling_rate=16_000, return_tensors="pt")
    ids: list[int] = inputs.input_ids[0].tolist()
    return ids


@pytest.mark.parametrize("conversation", CHATS, ids=lambda c: c.id)
def test_a_chat_equals_the_processors(
    conversation: Conversation, processor: Qwen2AudioProcessor
) -> None:
    text = processor.apply_chat_template(messages(conversation.turns), tokenize=False)
    sequence = tokens_of(conversation, processor)
    assert sequence.input_ids.tolist() == reference_ids(text, conversation, processor)
    assert sequence.clip_ids == conversation.clip_ids
    assert sequence.tokens_per_clip == tuple(TOKENS_PER_CLIP[c] for c in conversation.clip_ids)
    assert set(
        processor.tokenizer.convert_ids_to_tokens(sequence.input_ids[sequence.audio_positions])
    ) <= {"<|AUDIO|>"}


@pytest.mark.parametrize("conversation", CHATS, ids=lambda c: c.id)
def test_a_chat_prompt_equals_the_processors(
    conversation: Conversation, processor: Qwen2AudioProcessor
) -> None:
    text = processor.apply_chat_template(
        messages(conversation.prompt), tokenize=False, add_generation_prompt=True
    )
    sequence = prompt_of(conversation, processor)
    assert sequence.input_ids.tolist() == reference_ids(text, conversation, processor)
    assert not sequence.is_label.any()


def test_clips_are_counted_through_all_turns(processor: Qwen2AudioProcessor) -> None:
    text = processor.tokenizer.decode(tokens_of(THREE_TURNS, processor).input_ids)
    assert re.findall(r"Audio (\d+): <\|audio_bos\|>", text) == ["1", "2", "3", "4"]


def test_a_completion_is_audio_prompt_answer_and_end(processor: Qwen2AudioProcessor) -> None:
    conversation = completion("c", ("even", "shortest"), "speech: <|en|>", "the dog <|de|>")
    sequence = tokens_of(conversation, processor)
    text = processor.tokenizer.decode(sequence.input_ids)
    assert text == (
        f"<|audio_bos|>{'<|AUDIO|>' * TOKENS_PER_CLIP['even']}<|audio_eos|>"
        "<|audio_bos|><|AUDIO|><|audio_eos|>speech: <|en|>the dog <|de|><|endoftext|>"
    )
    english = processor.tokenizer.convert_tokens_to_ids("<|en|>")
    assert english in sequence.input_ids
    labels = processor.tokenizer.decode(sequence.input_ids[sequence.is_label])
    assert labels == "the dog <|de|><|endoftext|>"


def test_labels_of_a_chat_are_every_answer_with_its_end(processor: Qwen2AudioProcessor) -> None:
    sequence = tokens_of(CONVERSATIONS[3], processor)
    labels = processor.tokenizer.decode(sequence.input_ids[sequence.is_label])
    assert labels == "A dog.<|im_end|>Rain falls.<|im_end|>"


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda c: c.id)
def test_prompt_and_answer_join_to_the_whole(
    conversation: Conversation, processor: Qwen2AudioProcessor
) -> None:
    whole = tokens_of(conversation, processor)
    prompt = prompt_of(conversation, processor)
    answer = render_answer(conversation.answer, conversation, processor.tokenizer)
    joined = [*prompt.input_ids.tolist(), *answer]
    assert whole.input_ids.tolist()[: len(joined)] == joined
    assert len(whole) - len(joined) == (1 if conversation.format == "chat" else 0)
    assert np.all(whole.is_label[len(prompt) : len(joined)])


@pytest.mark.parametrize("token", CONTROL_TOKENS)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_control_tokens_in_a_text_are_refused(
    token: str, role: str, processor: Qwen2AudioProcessor
) -> None:
    conversation = chat("evil", ("user", "a", ()), (role, f"hello {token}", ()))
    with pytest.raises(SequenceError, match="turn 1 of conversation 'evil' contains"):
        tokens_of(conversation, processor)
    with pytest.raises(SequenceError, match=r"the answer .* contains"):
        render_answer(f"x{token}", conversation, processor.tokenizer)


@pytest.mark.parametrize(
    ("conversation", "message"),
    [
        (chat("c", ("user", "a", ()), ("system", "b", ())), "turn 1 .*'system'; a chat needs"),
        (chat("c", ("assistant", "a", ("odd",))), "only a user can be heard"),
        (
            completion("c", (), "a", "b").model_copy(update={"turns": (Turn(role="system"),)}),
            "'system'; a completion needs user",
        ),
        (
            completion("c", (), "a", "b").model_copy(update={"turns": (Turn(role="user"),) * 3}),
            "turn 1 .*'user'; a completion needs assistant",
        ),
    ],
)
def test_turns_out_of_place_are_refused(
    conversation: Conversation, message: str, processor: Qwen2AudioProcessor
) -> None:
    with pytest.raises(SequenceError, match=message):
        tokens_of(conversation, processor)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20))
def test_letters_say_the_same_in_tokens_of_at_most_one_letter(
    processor: Qwen2AudioProcessor, text: str
) -> None:
    tokenizer = processor.tokenizer
    spelled = letters(tokenizer)(text)
    assert normalize("NFC", tokenizer.decode(spelled)) == normalize("NFC", text)
    for token in set(spelled):
        piece = tokenizer.decode([token])
        assert len(piece) == 1, (token, piece)


def test_an_answer_in_letters_changes_the_labels_alone_and_keeps_its_end(
    processor: Qwen2AudioProcessor,
) -> None:
    conversation = completion("c", ("even",), "Say it.", "Hello there")
    plain, spelled = (
        render(conversation, processor.tokenizer, TOKENS_PER_CLIP, encode)
        for encode in (None, letters(processor.tokenizer))
    )
    text = f"Hello there{END_OF_TEXT}"
    found = [s.input_ids[s.is_label].tolist() for s in (plain, spelled)]
    assert [processor.tokenizer.decode(ids) for ids in found] == [text, text]
    assert len(found[1]) == len("Hello there") + 1 > len(found[0])
    rest = [s.input_ids[~s.is_label].tolist() for s in (plain, spelled)]
    assert rest[0] == rest[1]
