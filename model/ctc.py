"""Connectionist temporal classification of audio tokens in the space of word embeddings.

A language model learns to read audio from very few clips when each audio token already lies near
the embedding of the letter that is spoken. The classes therefore have no weights of their own: they
are the embeddings of single characters, and the blank is that of `<|AUDIO|>`, for audio without
speech. Nothing is added to the checkpoint.
"""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen2AudioForConditionalGeneration

_BLANK = 0


@dataclass(frozen=True)
class Alphabet:
    """Classes of the loss: the blank, then characters."""

    characters: str
    """Class k + 1 is `characters[k]`."""
    token_ids: Tensor
    """int64 [P]: tokens of all characters, concatenated; a rare character has several."""
    owners: Tensor
    """int64 [P]: index in `characters` of the one that each token belongs to."""

    @classmethod
    def of(cls, characters: str, tokenizer: PreTrainedTokenizerFast) -> "Alphabet":
        """Make classes of `characters`, each of which occurs once."""
        tokens = [tokenizer.encode(character, add_special_tokens=False) for character in characters]
        return cls(
            characters,
            torch.tensor([token for some in tokens for token in some], dtype=torch.int64),
            torch.tensor([k for k, some in enumerate(tokens) for _ in some], dtype=torch.int64),
        )

    def encode(self, text: str) -> Tensor:
        """Encode `spelling(text)` as classes, int64 [S]; unknown characters are left out."""
        indices = (self.characters.find(character) for character in spelling(text))
        return torch.tensor([index + 1 for index in indices if index >= 0], dtype=torch.int64)


def spelling(text: str) -> str:
    """Reduce a text to what is audible: lower-case letters, marks and digits, single spaces."""
    folded = unicodedata.normalize("NFC", text.casefold())
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return " ".join("".join(kept).split())


def class_embeddings(model: Qwen2AudioForConditionalGeneration, alphabet: Alphabet) -> Tensor:
    """Look up the language model's embeddings of all classes, float32 [1 + characters, hidden].

    A character of several tokens gets their mean. They carry no gradient: audio moves towards the
    words, not the words towards the audio.
    """
    blank = torch.tensor([model.config.audio_token_id])
    ids = torch.cat([blank, alphabet.token_ids]).to(model.device)
    rows = model.model.language_model.embed_tokens(ids).detach().float()
    owners = torch.cat([blank.new_zeros(1), 1 + alphabet.owners]).to(model.device)
    sums: Tensor = rows.new_zeros(1 + len(alphabet.characters), rows.shape[1]).index_add(
        0, owners, rows
    )
    return sums / owners.bincount(minlength=len(sums))[:, None]


def class_log_probs(audio: Tensor, classes: Tensor) -> Tensor:
    """Log-probability of each class at each audio token, float32 [tokens, classes].

    It is the posterior of a mixture of equal Gaussians around the classes' embeddings e_k,
    softmax_k(-|x - e_k|^2 / (2 v)). The variance v is the mean squared distance of two classes
    over 4 ln(classes): a token that lies on one of two classes at that distance prefers it by a
    factor of classes^2.

    Args:
        audio: x, [tokens, hidden_size].
        classes: e, [classes, hidden_size], at least two that differ.
    """
    count = len(classes)
    spread = 2 * (classes - classes.mean(0)).square().sum() / (count - 1)
    variance = spread / (4 * math.log(count))
    with torch.autocast(audio.device.type, enabled=False):
        # |x|^2 is equal for all classes.
        scores = audio.float() @ classes.T - classes.square().sum(1) / 2
    return (scores / variance).log_softmax(-1)


def ctc_loss(log_probs: Tensor, counts: Sequence[int], targets: Sequence[Tensor]) -> Tensor:
    """Sum over clips of -log P(transcript | audio), a float32 scalar.

    P sums over all ways to place the characters, in order, on the clip's tokens with blanks in
    between; two equal neighbours need a blank. A transcript that is too long for the tokens of its
    clip has no such way: it counts as 0 instead of infinity.

    Args:
        log_probs: float32 [sum of counts, classes], from `class_log_probs`.
        counts: audio tokens of each clip.
        targets: for each clip int64 [S], from `Alphabet.encode`; clips with an empty one don't
            count.

    Source: Graves et al. 2006, "Connectionist temporal classification", eq. 3 and 8.
    """
    pairs = zip(log_probs.split(list(counts)), targets, strict=True)
    spoken = [(clip, target) for clip, target in pairs if len(target)]
    if not spoken:
        return log_probs.sum() * 0.0
    return functional.ctc_loss(
        pad_sequence([clip for clip, _ in spoken]),
        torch.cat([target for _, target in spoken]).to(log_probs.device),
        torch.tensor([len(clip) for clip, _ in spoken]),
        torch.tensor([len(target) for _, target in spoken]),
        blank=_BLANK,
        reduction="sum",
        zero_infinity=True,
    )
