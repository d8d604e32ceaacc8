"""From a conversation to token ids: the one place that knows both prompt formats."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import (
    PreTrainedTokenizerFast,
)

from data_contracts.records import Conversation, Turn
from model.tokenizer import (
    AUDIO,
    AUDIO_END,
    AUDIO_START,
    CONTROL_TOKENS,
    END_OF_TEXT,
    TURN_END,
    TURN_START,
)

DEFAULT_SYSTEM = "You are a helpful assistant."
_CLIP = f"{AUDIO_START}{AUDIO}{AUDIO_END}"
_ANSWER_HEADER = f"{TURN_START}assistant\n"

Encode = Callable[[str], Sequence[int]]
"""A text's tokens."""


class SequenceError(ValueError):
    """A conversation has no rendering: a control token in its text, or turns out of place."""


@dataclass(frozen=True)
class TokenSequence:
    """One conversation as the language model reads it."""

    input_ids: NDArray[np.int64]
    """[T]; `<|AUDIO|>` stands once for every token of a clip."""
    is_label: NDArray[np.bool_]
    """[T]; True where the token is to be predicted: answers and the token that ends them."""
    clip_ids: tuple[str, ...]
    """The clips behind the runs of `<|AUDIO|>`, in order."""
    tokens_per_clip: tuple[int, ...]
    """The lengths of these runs."""
    audio_places: NDArray[np.int64]
    """[sum of tokens_per_clip]: where `<|AUDIO|>` stands."""

    def __len__(self) -> int:
        return len(self.input_ids)


def render(
    conversation: Conversation,
    tokenizer: PreTrainedTokenizerFast,
    tokens_per_clip: Mapping[str, int],
    encode_answer: Encode | None = None,
) -> TokenSequence:
    """Tokens of a whole conversation, answers marked as labels.

    Args:
        conversation: "completion" (one user turn, one answer) or "chat".
        tokenizer: with Qwen2-Audio's control tokens.
        tokens_per_clip: for each clip id, `audio.num_audio_tokens` of it.
        encode_answer: another way than the tokenizer's to cut answers, such as `letters`.

    Raises:
        SequenceError: naming the conversation, for a control token in a text or a turn that the
            format does not allow.
        KeyError: for a clip that `tokens_per_clip` lacks.
    """
    pieces = list(_pieces(conversation, conversation.turns))
    return _assemble(conversation, pieces, tokenizer, tokens_per_clip, encode_answer)


def letters(tokenizer: PreTrainedTokenizerFast) -> Encode:
    """Encodes a text letter by letter, each as the tokenizer writes it where it stands alone.

    The answer decodes to the same text. A language model that hears what its embeddings of letters
    say (`model.ctc`) has only to copy them, in languages too whose words it would cut anywhere.

    Source: Provilkov et al. 2020, "BPE-Dropout", with every merge dropped.
    """

    def encode(text: str) -> list[int]:
        return [i for letter in text for i in tokenizer.encode(letter, add_special_tokens=False)]

    return encode


def render_prompt(
    conversation: Conversation,
    tokenizer: PreTrainedTokenizerFast,
    tokens_per_clip: Mapping[str, int],
) -> TokenSequence:
    """Tokens of the turns before the last answer, ready for the answer's first token.

    Nothing is marked as a label. Arguments and errors as for `render`.
    """
    pieces = [(text, False) for text, _ in _pieces(conversation, conversation.prompt)]
    if conversation.format == "chat":
        pieces.append((_ANSWER_HEADER, False))
    return _assemble(conversation, pieces, tokenizer, tokens_per_clip)


def render_answer(
    text: str, conversation: Conversation, tokenizer: PreTrainedTokenizerFast
) -> tuple[int, ...]:
    """Token ids of an answer and of the token that ends it: what follows `render_prompt`.

    Args:
        text: another answer than the conversation's own, such as a rejected one.
        conversation: whose format decides the end token.

    Raises:
        SequenceError: for a control token in `text`.
    """
    _refuse_control_tokens(text, place=f"the answer {text!r:.60} to {conversation.id!r}")
    end = TURN_END if conversation.format == "chat" else END_OF_TEXT
    return tuple(tokenizer.encode(text + end, add_special_tokens=False))


def _pieces(conversation: Conversation, turns: tuple[Turn, ...]) -> Iterable[tuple[str, bool]]:
    """Texts to encode one by one, and whether their tokens are labels.

    Answers are pieces of their own: the model continues a prompt that was encoded without them.
    """
    for number, turn in enumerate(turns):
        place = f"turn {number} of conversation {conversation.id!r}"
        _refuse_control_tokens(turn.text, place)
        _check_place(conversation, number, turn, place)
    if conversation.format == "completion":
        for turn in turns:
            if turn.role == "user":
                yield _CLIP * len(turn.audio) + turn.text, False
            else:
                yield turn.text, True
                yield END_OF_TEXT, True
        return
    if turns[0].role != "system":
        yield f"{TURN_START}system\n{DEFAULT_SYSTEM}{TURN_END}\n", False
    heard = 0
    for turn in turns:
        if turn.role == "assistant":
            yield _ANSWER_HEADER, False
            yield turn.text, True
            yield TURN_END, True
            yield "\n", False
            continue
        clips = "".join(f"Audio {heard + i + 1}: {_CLIP}\n" for i in range(len(turn.audio)))
        heard += len(turn.audio)
        yield f"{TURN_START}{turn.role}\n{clips}{turn.text}{TURN_END}\n", False


def _assemble(
    conversation: Conversation,
    pieces: Iterable[tuple[str, bool]],
    tokenizer: PreTrainedTokenizerFast,
    tokens_per_clip: Mapping[str, int],
    encode_answer: Encode | None = None,
) -> TokenSequence:
    """Encode the pieces and repeat each `<|AUDIO|>` as often as its clip has tokens."""
    ids: list[int] = []
    labels: list[bool] = []
    for text, is_label in pieces:
        if is_label and encode_answer and text not in CONTROL_TOKENS:
            encoded = list(encode_answer(text))
        else:
            encoded = tokenizer.encode(text, add_special_tokens=False)
        ids += encoded
        labels += [is_label] * len(encoded)
    input_ids = np.array(ids, dtype=np.int64)
    is_audio = input_ids == tokenizer.convert_tokens_to_ids(AUDIO)
    clip_ids = tuple(clip for turn in conversation.turns for clip in turn.audio)
    counts = tuple(tokens_per_clip[clip] for clip in clip_ids[: int(is_audio.sum())])
    repeats = np.ones(len(input_ids), dtype=np.int64)
    repeats[is_audio] = counts
    return TokenSequence(
        input_ids=input_ids.repeat(repeats),
        is_label=np.array(labels, dtype=np.bool_).repeat(repeats),
        clip_ids=clip_ids[: len(counts)],
        tokens_per_clip=counts,
        audio_places=is_audio.repeat(repeats).nonzero()[0],
    )


def _refuse_control_tokens(text: str, place: str) -> None:
    for token in CONTROL_TOKENS:
        if token in text:
            raise SequenceError(
                f"{place} contains {token}; a text must not steer the format. Remove it from the "
                "text."
            )


def _check_place(conversation: Conversation, number: int, turn: Turn, place: str) -> None:
    if conversation.format == "completion":
        expected = ("user", "assistant")[number] if number < 2 else "no turn"
        allowed = turn.role == expected
    else:
        expected = "user or assistant; system first only"
        allowed = turn.role != "system" or number == 0
    if not allowed:
        raise SequenceError(
            f"{place} has the role {turn.role!r}; a {conversation.format} wants {expected}."
        )
    if turn.audio and turn.role != "user":
        raise SequenceError(
            f"{place} is the {turn.role}'s and has the clips {turn.audio}; only a user can be "
            "heard. Move the clips to a user turn."
        )


def render_example(
    conversation: Conversation,
    tokenizer: PreTrainedTokenizerFast,
    tokens_per_clip: Mapping[str, int],
    spelled: Collection[str],
) -> TokenSequence:
    """A conversation as it is learnt: letter by letter where its task is one of `spelled`."""
    encode_answer = letters(tokenizer) if conversation.task in spelled else None
    return render(conversation, tokenizer, tokens_per_clip, encode_answer)
