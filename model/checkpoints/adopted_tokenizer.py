"""Adopts a language model's own tokenizer and adds Qwen2-Audio's control tokens."""

import base64
import binascii
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from model.checkpoints.weights import CheckpointError
from model.tokenizer import CONTROL_TOKENS, END_OF_TEXT, TURN_END, TURN_START

_RANKS = "qwen.tiktoken"
_PIECES = ("assistant\n", "Rain.")
"""Texts that must have the same tokens in pieces as at once, since `sequence` encodes by turns."""
_QWEN_SPECIAL = (END_OF_TEXT, TURN_START, TURN_END, *(f"<|extra_{i}|>" for i in range(205)))
"""Special tokens of Qwen-7B's tokenizer after its ranks: ids 151,643 to 151,850."""


def read_tokenizer(directory: Path) -> Tokenizer:
    """Read the tokenizer of a language model's folder, without the tokens it adds around a text.

    Qwen2-Audio's formats fix how a sequence begins; a Llama's beginning-of-sequence token would
    stand before the processor's prompts, but not before those that the model learnt from.

    Args:
        directory: with `tokenizer.json`, or with Qwen-7B's `qwen.tiktoken`.

    Raises:
        CheckpointError: neither file is there, or it can't be read.
    """
    if (directory / "tokenizer.json").is_file():
        try:
            backend: Tokenizer = AutoTokenizer.from_pretrained(
                directory, local_files_only=True
            ).backend_tokenizer
        except Exception as error:  # tokenizers raises bare Exceptions
            raise CheckpointError(
                f"the tokenizer in {directory} can't be read ({error}). Open it in transformers "
                "and write it again with save_pretrained."
            ) from error
    elif (directory / _RANKS).is_file():
        backend = tokenizer_of_ranks(directory / _RANKS)
    else:
        raise CheckpointError(
            f"{directory} has neither tokenizer.json nor {_RANKS}. Open the tokenizer in "
            "transformers and write it there with save_pretrained."
        )
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    backend.no_truncation()
    backend.no_padding()
    return backend


def tokenizer_of_ranks(path: Path) -> Tokenizer:
    """Build Qwen-7B's tokenizer from its file of ranks: a line per token, base64 and rank.

    Text is normalised (NFC) and split as Qwen2 does it. The special tokens take the ids after the
    ranks.

    Raises:
        CheckpointError: a line has another form, or the ranks have a gap.

    Source: the published tokenization_qwen.py; the splits of a token in order of rank are the
    merges that lead to it, as in transformers' `TikTokenConverter`.
    """
    try:
        pairs = [line.split() for line in path.read_bytes().splitlines() if line]
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except (ValueError, binascii.Error) as error:
        raise CheckpointError(f"{path} can't be read ({error}). Copy the file again.") from error
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise CheckpointError(
            f"the {len(ranks)} ranks in {path} have gaps; they must count from 0. Copy the file "
            "again."
        )
    letters = bytes_to_unicode()
    text = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        cuts = [(token[:i], token[i:]) for i in range(1, len(token))]
        splits = [pair for pair in cuts if pair[0] in ranks and pair[1] in ranks]
        splits.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += [(text[left], text[right]) for left, right in splits]
    vocab = {text[token]: rank for token, rank in ranks.items()}
    tokenizer = Tokenizer(BPE(vocab, merges, ignore_merges=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([_special(token) for token in _QWEN_SPECIAL])
    return tokenizer


def adopt(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Copy `tokenizer` with the control tokens added, and with a chat's token as its end of text.

    Its own tokens keep their ids; the others take the ids after its last.

    Raises:
        CheckpointError: the ids have gaps, so that new tokens would take ids twice, or the
            tokenizer puts a space before every text, as SentencePiece does.
    """
    extended = Tokenizer.from_str(tokenizer.to_str())
    extended.add_special_tokens([_special(token) for token in CONTROL_TOKENS])
    ids = extended.get_vocab().values()
    if sorted(ids) != list(range(len(ids))):
        raise CheckpointError(
            f"with the control tokens the tokenizer has {len(ids)} tokens and {len(set(ids))} ids "
            f"up to {max(ids)}; each must have its own, without gaps. Fill the gaps of the "
            "language model's tokenizer with unused tokens."
        )
    apart = [token for piece in _PIECES for token in extended.encode(piece).tokens]
    at_once = extended.encode("".join(_PIECES)).tokens
    if apart != at_once:
        raise CheckpointError(
            f"the tokenizer reads {_PIECES} as {apart} apart and as {at_once} at once, so an "
            "answer would begin with other tokens in training than in use. Take a language model "
            "with a byte-level tokenizer (Qwen, Qwen2, Llama 3)."
        )
    special = [token for token in extended.get_added_tokens_decoder().values() if token.special]
    return PreTrainedTokenizerFast(
        tokenizer_object=extended,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[token.content for token in special],
        clean_up_tokenization_spaces=False,
    )


def _special(token: str) -> AddedToken:
    return AddedToken(token, special=True, normalized=False)
