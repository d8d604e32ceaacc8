"""Renders conversations as token ids, in both prompt formats."""

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
"""Encodes a text as tokens."""


class SequenceError(ValueError):
    """A conversation can't be rendered: a control token in a text, or a turn out of order."""


@dataclass(frozen=True)
class TokenSequence:
    """One conversation as the language model reads it."""

    input_ids: NDArray[np.int64]
    """[T]; `<|AUDIO|>` is repeated for every token of a clip."""
    is_label: NDArray[np.bool_]
    """[T]; True where the token is a label: answers and the token that ends them."""
    clip_ids: tuple[str, ...]
    """Clips of the runs of `<|AUDIO|>`, in order."""
    tokens_per_clip: tuple[int, ...]
    """Lengths of these runs."""
    audio_positions: NDArray[np.int64]
    """[sum of tokens_per_clip]: positions of `<|AUDIO|>`."""

    def __len__(self) -> int:
        return len(self.input_ids)


def render(
    conversation: Conversation,
    tokenizer: PreTrainedTokenizerFast,
    tokens_per_clip: Mapping[str, int],
    encode_answer: Encode | None = None,
) -> TokenSequence:
    """Render a whole conversation as tokens, with answers marked as labels.

    Args:
        conversation: "completion" (one user turn, one answer) or "chat".
        tokenizer: with Qwen2-Audio's control tokens.
        tokens_per_clip: `audio.num_audio_tokens` by clip id.
        encode_answer: another encoding of answers than the tokenizer's, such as `letters`.

    Raises:
        SequenceError: a text has a control token, or the format does not allow a turn; the message
            names the conversation.
        KeyError: a clip is missing in `tokens_per_clip`.
    """
    pieces = list(_pieces(conversation, conversation.turns))
    return _assemble(conversation, pieces, tokenizer, tokens_per_clip, encode_answer)


def letters(tokenizer: PreTrainedTokenizerFast) -> Encode:
    """Return an encoding letter by letter, each as the tokenizer encodes it on its own.

    The answer decodes to the same text. A language model whose audio tokens lie near its embeddings
    of letters (`model.ctc`) has only to copy them, also in languages whose words it would split
    arbitrarily.

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
    """Render the turns before the last answer as tokens, ready for the answer's first token.

    Nothing is marked as a label. Arguments and errors are those of `render`.
    """
    pieces = [(text, False) for text, _ in _pieces(conversation, conversation.prompt)]
    if conversation.format == "chat":
        pieces.append((_ANSWER_HEADER, False))
    return _assemble(conversation, pieces, tokenizer, tokens_per_clip)


def render_answer(
    text: str, conversation: Conversation, tokenizer: PreTrainedTokenizerFast
) -> tuple[int, ...]:
    """Encode an answer and the token that ends it, to follow the tokens of `render_prompt`.

    Args:
        text: another answer than the conversation's own, such as a rejected one.
        conversation: its format decides the end token.

    Raises:
        SequenceError: `text` has a control token.
    """
    _refuse_control_tokens(text, f"the answer {text!r:.60} to {conversation.id!r}")
    end = TURN_END if conversation.format == "chat" else END_OF_TEXT
    return tuple(tokenizer.encode(text + end, add_special_tokens=False))


def _pieces(conversation: Conversation, turns: tuple[Turn, ...]) -> Iterable[tuple[str, bool]]:
    """Split turns into texts to encode one by one, and whether their tokens are labels.

    Answers are pieces of their own: the model continues a prompt that was encoded without them.
    """
    for number, turn in enumerate(turns):
        name = f"turn {number} of conversation {conversation.id!r}"
        _refuse_control_tokens(turn.text, name)
        _check_turn(conversation, number, turn, name)
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
    num_clips = 0
    for turn in turns:
        if turn.role == "assistant":
            yield _ANSWER_HEADER, False
            yield turn.text, True
            yield TURN_END, True
            yield "\n", False
            continue
        clips = "".join(f"Audio {num_clips + i + 1}: {_CLIP}\n" for i in range(len(turn.audio)))
        num_clips += len(turn.audio)
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
        audio_positions=is_audio.repeat(repeats).nonzero()[0],
    )


def _refuse_control_tokens(text: str, name: str) -> None:
    for token in CONTROL_TOKENS:
        if token in text:
            raise SequenceError(
                f"{name} contains {token}; a text must not steer the format. Remove it from the "
                "text."
            )


def _check_turn(conversation: Conversation, number: int, turn: Turn, name: str) -> None:
    if conversation.format == "completion":
        expected = ("user", "assistant")[number] if number < 2 else "no turn"
        allowed = turn.role == expected
    else:
        expected = "user or assistant; system first only"
        allowed = turn.role != "system" or number == 0
    if not allowed:
        raise SequenceError(
            f"{name} has the role {turn.role!r}; a {conversation.format} needs {expected}."
        )
    if turn.audio and turn.role != "user":
        raise SequenceError(
            f"{name} is the {turn.role}'s and has the clips {turn.audio}; only a user can be "
            "heard. Move the clips to a user turn."
        )


def render_example(
    conversation: Conversation,
    tokenizer: PreTrainedTokenizerFast,
    tokens_per_clip: Mapping[str, int],
    spelled: Collection[str],
) -> TokenSequence:
    """Render a conversation for training, letter by letter where its task is one of `spelled`."""
    encode_answer = letters(tokenizer) if conversation.task in spelled else None
    return render(conversation, tokenizer, tokens_per_clip, encode_answer)
