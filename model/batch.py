"""Packs many sequences into one row, with every recording encoded once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.attention import Packed, Tree
from model.audio import num_tokens_of_features
from model.sequence import TokenSequence


@dataclass(frozen=True)
class Batch:
    """A packed row of T tokens, on the CPU; `forward` moves what it needs."""

    input_ids: Tensor
    """int64 [T]."""
    position_ids: Tensor
    """int64 [T]: position in the sequence, which restarts with every sequence."""
    plan: Packed | Tree
    """Which positions attend to which."""
    features: tuple[Tensor, ...]
    """Features of the distinct clips, each [num_mel_bins, 2 * L1 + 2 per window of 30 s]."""
    audio_positions: Tensor
    """int64 [A]: positions in the row that hold audio."""
    audio_sources: Tensor
    """int64 [A]: the row of `encode_audio(features)` for each of these positions."""
    predicting: Tensor
    """int64 [N]: positions whose output predicts a label."""
    labels: Tensor
    """int64 [N]: the token that each of these positions should predict."""
    label_sequence: Tensor
    """int64 [N]: index of the answered sequence that each label belongs to, ascending."""
    last_positions: Tensor
    """int64 [number of sequences]: last position of each sequence."""

    @property
    def num_labels(self) -> int:
        """Number of labels, N; a loss is divided by its sum over all micro-batches of a step."""
        return len(self.labels)


@dataclass(frozen=True)
class AnswerPair:
    """A preference pair: a prompt and two answers, as token ids with the end token."""

    prompt: TokenSequence
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


def collate(sequences: Sequence[TokenSequence], features: Mapping[str, Tensor]) -> Batch:
    """Pack sequences into one row; a clip that several of them contain is encoded once.

    Args:
        sequences: from `sequence.render` or `render_prompt`; at least one.
        features: log-mel features by clip id.

    Raises:
        ValueError: a clip's run of tokens does not match its features.
        KeyError: a clip has no features.
    """
    lengths = np.array([len(sequence) for sequence in sequences])
    input_ids = np.concatenate([sequence.input_ids for sequence in sequences])
    is_label = np.concatenate([sequence.is_label for sequence in sequences])
    starts = lengths.cumsum() - lengths
    is_label[starts] = False  # no position before a sequence's first token predicts it
    targets = is_label.nonzero()[0]
    owner = np.arange(len(lengths)).repeat(lengths)
    return _batch(
        sequences,
        starts,
        features,
        input_ids=input_ids,
        position_ids=np.arange(len(input_ids)) - starts[owner],
        plan=Packed(tuple(lengths.tolist()), causal=True),
        predicting=targets - 1,
        labels=input_ids[targets],
        label_sequence=owner[targets],
        last_positions=starts + lengths - 1,
    )


def collate_pairs(pairs: Sequence[AnswerPair], features: Mapping[str, Tensor]) -> Batch:
    """Pack preference pairs as [prompt | chosen | rejected], each prompt and clip once.

    Pair i's chosen answer is sequence 2 i, its rejected one 2 i + 1. The rejected answer restarts
    its positions where the prompt ends, and the prompt's last position predicts the first token
    of both. Features and errors are those of `collate`.
    """
    branches = [(len(pair.prompt), len(pair.chosen), len(pair.rejected)) for pair in pairs]
    starts = np.array([0, *np.cumsum([sum(branch) for branch in branches])])[:-1]
    rows: list[NDArray[np.int64]] = []
    positions: list[NDArray[np.int64]] = []
    predicting: list[NDArray[np.int64]] = []
    for pair, start, (prompt, *answers) in zip(pairs, starts, branches, strict=True):
        rows += [pair.prompt.input_ids, np.array(pair.chosen), np.array(pair.rejected)]
        positions.append(np.arange(prompt))
        first = start + prompt
        for length in answers:
            positions.append(prompt + np.arange(length))
            before = np.arange(first - 1, first - 1 + length)
            before[0] = start + prompt - 1
            predicting.append(before)
            first += length
    answers_only = [row for i, row in enumerate(rows) if i % 3]
    answer_lengths = [len(row) for row in answers_only]
    return _batch(
        [pair.prompt for pair in pairs],
        starts,
        features,
        input_ids=np.concatenate(rows),
        position_ids=np.concatenate(positions),
        plan=Tree(tuple(branches)),
        predicting=np.concatenate(predicting),
        labels=np.concatenate(answers_only),
        label_sequence=np.arange(len(answers_only)).repeat(answer_lengths),
        last_positions=starts + np.array([sum(branch) for branch in branches]) - 1,
    )


def _batch(
    sequences: Sequence[TokenSequence],
    starts: NDArray[np.int64],
    features: Mapping[str, Tensor],
    *,
    plan: Packed | Tree,
    **arrays: NDArray[np.int64],
) -> Batch:
    """Add the features to the arrays of the text, and where each clip's tokens come from and go."""
    clip_ids = list(dict.fromkeys(clip for s in sequences for clip in s.clip_ids))
    counts = np.array([num_tokens_of_features(features[clip].shape[1]) for clip in clip_ids])
    first_row = dict(zip(clip_ids, counts.cumsum() - counts, strict=True))
    positions: list[NDArray[np.int64]] = []
    sources: list[NDArray[np.int64]] = []
    for sequence, start in zip(sequences, starts, strict=True):
        _check_counts(sequence, features)
        positions.append(start + sequence.audio_positions)
        sources += [
            np.arange(first_row[clip], first_row[clip] + count)
            for clip, count in zip(sequence.clip_ids, sequence.tokens_per_clip, strict=True)
        ]
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Batch(
        plan=plan,
        features=tuple(features[clip] for clip in clip_ids),
        audio_positions=torch.from_numpy(np.concatenate(positions)),
        audio_sources=torch.from_numpy(np.concatenate([np.empty(0, np.int64), *sources])),
        **tensors,
    )


def _check_counts(sequence: TokenSequence, features: Mapping[str, Tensor]) -> None:
    for clip, count in zip(sequence.clip_ids, sequence.tokens_per_clip, strict=True):
        made = num_tokens_of_features(features[clip].shape[1])
        if made != count:
            raise ValueError(
                f"clip {clip!r} takes {count} tokens in the sequence, but its features make "
                f"{made}. Render the sequence with the counts of the features that are used."
            )
