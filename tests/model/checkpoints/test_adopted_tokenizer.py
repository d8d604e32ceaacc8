"""A language model's tokenizer reads text as before, and the control tokens as one token each."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import AutoTokenizer, LlamaTokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from model.checkpoints.adopted_tokenizer import adopt, read_tokenizer
from model.checkpoints.weights import CheckpointError
from model.tokenizer import CONTROL_TOKENS
from tests.support.oracle import TEXTS
from tests.support.small_checkpoints import RANKS, train, write_llama, write_ranks

TRICKY = [
    *TEXTS[:3],
    "",
    "  Größe: 12345\n\n日本語 🐶 .",
    "you're  late !",
    "aaaa the the\tdog\r\n",
]


def by_ranks(text: str) -> list[int]:
    """tiktoken's rule: in each piece, time and again join the pair whose union ranks first."""
    ids = []
    for piece in regex.findall(PRETOKENIZE_REGEX, text):
        parts = [bytes([byte]) for byte in piece.encode()]
        while True:
            unions = [a + b for a, b in pairwise(parts)]
            known = [(RANKS.index(union), i) for i, union in enumerate(unions) if union in RANKS]
            if not known:
                break
            at = min(known)[1]
            parts[at : at + 2] = [unions[at]]
        ids += [RANKS.index(part) for part in parts]
    return ids


def test_a_llamas_text_is_read_as_before_and_without_a_beginning(tmp_path: Path) -> None:
    write_llama(tmp_path, tied=False)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    ours = adopt(read_tokenizer(tmp_path))
    for text in TRICKY:
        assert ours(text).input_ids == theirs.encode(text, add_special_tokens=False)
        assert ours.decode(ours(text).input_ids) == text
    assert theirs("a").input_ids[0] == theirs.convert_tokens_to_ids("<s>")


def test_control_tokens_take_the_ids_behind_the_others(tmp_path: Path) -> None:
    write_llama(tmp_path, tied=False)
    theirs = read_tokenizer(tmp_path)
    ours = adopt(theirs)
    size = theirs.get_vocab_size()
    assert ours.convert_tokens_to_ids(list(CONTROL_TOKENS)) == list(range(size, size + 6))
    assert len(ours) == size + 6
    assert theirs.token_to_id("<|im_end|>") is None
    for token in (*CONTROL_TOKENS, "</s>"):
        ids = ours(f"dog{token}dog").input_ids
        assert ids.count(ours.convert_tokens_to_ids(token)) == 1
        assert ours.decode(ids, skip_special_tokens=True) == "dogdog"
    assert (ours.eos_token, ours.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_control_tokens_that_are_there_keep_their_ids() -> None:
    theirs = train(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]).backend_tokenizer
    ours = adopt(theirs)
    for token in CONTROL_TOKENS[:3]:
        assert ours.convert_tokens_to_ids(token) == theirs.token_to_id(token)
    assert len(ours) == theirs.get_vocab_size() + 3


def test_limits_of_the_old_tokenizer_are_forgotten(tmp_path: Path) -> None:
    tokenizer = train(["</s>"])
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    ours = adopt(read_tokenizer(tmp_path))
    assert ours.decode(ours(TEXTS[0]).input_ids) == TEXTS[0]


def test_ranks_are_applied_by_tiktokens_rule(tmp_path: Path) -> None:
    write_ranks(tmp_path)
    tokenizer = read_tokenizer(tmp_path)
    for text in TRICKY:
        assert tokenizer.encode(text).ids == by_ranks(text)
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.encode(" the dog").ids == [RANKS.index(b" the"), RANKS.index(b" dog")]
    # NFC: o and a combining diaeresis are one letter.
    assert tokenizer.encode("o\u0308").ids == [RANKS.index("ö".encode())]


def test_qwens_special_tokens_stand_behind_the_ranks(tmp_path: Path) -> None:
    write_ranks(tmp_path)
    tokenizer = read_tokenizer(tmp_path)
    first = len(RANKS)
    for offset, token in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|extra_0|>")):
        assert tokenizer.encode(token).ids == [first + offset]
    assert tokenizer.token_to_id("<|extra_204|>") == first + 207
    assert adopt(tokenizer).convert_tokens_to_ids("<|audio_bos|>") == first + 208


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"IQ== 0\nIg==\n", "can't be read"),
        (b"IQ== 0\n!!!! 1\n", "can't be read"),
        (b"IQ== 0\nIg== 2\n", "the 2 ranks in .* have gaps"),
    ],
)
def test_damaged_ranks_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "qwen.tiktoken").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_tokenizer(tmp_path)


def test_a_folder_without_or_with_a_broken_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"neither tokenizer.json nor qwen.tiktoken"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {}}))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match=r"the tokenizer in .* can't be read"):
        read_tokenizer(tmp_path)


def test_ids_with_gaps_are_refused() -> None:
    with pytest.raises(CheckpointError, match="8 tokens and 7 ids up to 7"):
        adopt(Tokenizer(BPE({"a": 0, "b": 5}, [])))


def test_a_tokenizer_that_puts_a_space_before_every_text_is_refused(tmp_path: Path) -> None:
    letters = {letter: number for number, letter in enumerate("▁\nasintR.")}
    llama2 = LlamaTokenizer(vocab={"<unk>": 9, "<s>": 10, "</s>": 11} | letters, merges=[])
    llama2.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match=r"'▁', 'R'.* apart and as .* at once"):
        adopt(read_tokenizer(tmp_path))
