"""Initial projector in closed form: maps audio tokens near the embeddings of their words.

Between towers that were trained separately, a random projector gives the language model noise. The
ridge solution maps audio into the region of its words, from a few transcribed clips and without a
step of training.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Qwen2AudioForConditionalGeneration

_ROWS = 8192
"""Frames that are converted to float64 at a time."""


@torch.no_grad()
def transcript_targets(
    model: Qwen2AudioForConditionalGeneration,
    transcripts: Sequence[Sequence[int]],
    tokens_per_clip: Sequence[int],
) -> Tensor:
    """Embedding of the transcript token that is spoken at the time of each audio token.

    With n audio tokens and m transcript tokens in a clip, audio token j is paired with transcript
    token floor(j * m / n), as if all of them took equally long.

    Args:
        transcripts: token ids of the transcript of each clip.
        tokens_per_clip: as `encoder.encode_frames` returns them.

    Returns:
        [sum of tokens_per_clip, hidden_size].

    Raises:
        ValueError: a clip has no transcript, or the numbers of clips differ.
    """
    ids = []
    for number, (words, n) in enumerate(zip(transcripts, tokens_per_clip, strict=True)):
        if not words:
            raise ValueError(f"clip {number} has an empty transcript. Leave the clip out.")
        ids += [words[j * len(words) // n] for j in range(n)]
    embeddings = model.model.language_model.embed_tokens
    rows: Tensor = embeddings(torch.tensor(ids, device=model.device))
    return rows


@torch.no_grad()
def fit_projector(
    model: Qwen2AudioForConditionalGeneration, frames: Tensor, targets: Tensor, penalty: float
) -> None:
    """Set the projector to the W, b that minimise ||X W + b - Y||^2 + penalty ||W||^2.

    The bias bears no penalty: the larger the penalty, the nearer all projections are to the mean
    target. Solved in float64, from sums over frames, so that any number of frames fits.

    Args:
        model: changed in place.
        frames: X, [N, d_audio], from `encoder.encode_frames`.
        targets: Y, [N, hidden_size], such as those of `transcript_targets`.
        penalty: greater than 0; it competes with sums over N frames of unit size.

    Raises:
        ValueError: shapes don't fit the projector or each other, there are no frames, or the
            penalty is not positive.

    Source: Hoerl and Kennard 1970, "Ridge regression".
    """
    linear = model.model.multi_modal_projector.linear
    expected = ((len(frames), linear.in_features), (len(frames), linear.out_features))
    if (frames.shape, targets.shape) != expected or not len(frames):
        raise ValueError(
            f"frames are {tuple(frames.shape)} and targets {tuple(targets.shape)}; the projector "
            f"needs [N, {linear.in_features}] and [N, {linear.out_features}] with one N above 0."
        )
    if not penalty > 0:
        raise ValueError(
            f"the penalty is {penalty}; it must be positive, or frames that vary in too few "
            "directions leave the solution open."
        )
    pairs = list(zip(frames.split(_ROWS), targets.split(_ROWS), strict=True))
    mean_frame = sum(x.double().sum(0) for x, _ in pairs) / len(frames)
    mean_target = sum(y.double().sum(0) for _, y in pairs) / len(frames)
    gram = penalty * torch.eye(linear.in_features, dtype=torch.float64, device=frames.device)
    moment = gram.new_zeros(linear.in_features, linear.out_features)
    for x, y in pairs:
        centred = x.double() - mean_frame
        gram += centred.T @ centred
        moment += centred.T @ (y.double() - mean_target)
    weight = torch.cholesky_solve(moment, torch.linalg.cholesky(gram))
    linear.weight.copy_(weight.T)
    linear.bias.copy_(mean_target - mean_frame @ weight)
