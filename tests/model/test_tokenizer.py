"""The tokenizer is deterministic, lossless, and survives saving; so does the chat template."""

from pathlib import Path

import pytest
from transformers import Qwen2AudioProcessor

from model.tokenizer import AUDIO, CONTROL_TOKENS, build_processor, train_tokenizer
from tests.support.oracle import TEXTS


def test_the_same_texts_give_the_same_tokenizer() -> None:
    first, second = (train_tokenizer(TEXTS, 350, ["en"]) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert len(first) == 350


def test_any_text_comes_back_from_its_tokens() -> None:
    tokenizer = train_tokenizer(TEXTS, 300, ["en"])
    for text in ("  Größe: 12345\n\n日本語 🐶 .", "you're  late !", "a\tb\r\n"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_every_digit_is_a_token_of_its_own() -> None:
    tokenizer = train_tokenizer(["2024 2024 2024 in 2024"] * 50, 300, [])
    assert len(tokenizer.encode("2024", add_special_tokens=False)) == 4


def test_control_tokens_and_tags_are_single_special_tokens() -> None:
    tokenizer = train_tokenizer(TEXTS, 300, ["en", "de"])
    for token in (*CONTROL_TOKENS, "<|en|>", "<|de|>"):
        assert len(tokenizer.encode(token, add_special_tokens=False)) == 1
        assert tokenizer.decode(tokenizer.encode(token), skip_special_tokens=True) == ""
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token == "<|endoftext|>"


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="vocab_size is 100; 256 bytes and 7 special"):
        train_tokenizer(TEXTS, 100, ["en"])


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_a_processor_survives_saving_with_its_template(tmp_path: Path, num_mel_bins: int) -> None:
    processor = build_processor(train_tokenizer(TEXTS, 350, ["en"]), num_mel_bins)
    processor.save_pretrained(tmp_path)
    loaded = Qwen2AudioProcessor.from_pretrained(tmp_path)
    assert "<|audio_bos|>" in processor.chat_template
    assert loaded.chat_template == processor.chat_template
    assert loaded.feature_extractor.feature_size == num_mel_bins
    assert loaded.audio_token_id == loaded.tokenizer.convert_tokens_to_ids(AUDIO)
    text = "Hello <|en|> 12 Größe<|im_end|>"
    assert loaded.tokenizer.encode(text) == processor.tokenizer.encode(text)
    assert "".join((tmp_path / "chat_template.jinja").read_text()) == processor.chat_template
