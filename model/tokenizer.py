"""Trains a byte-level BPE tokenizer with Qwen2-Audio's control tokens, and builds its processor."""

from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast, Qwen2AudioProcessor, WhisperFeatureExtractor
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

END_OF_TEXT = "<|endoftext|>"
"""Ends a completion; also the padding."""
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
"""Ends a turn of a chat."""
AUDIO_START = "<|audio_bos|>"
AUDIO = "<|AUDIO|>"
"""Placeholder of one token of a clip; replaced by the encoder's output."""
AUDIO_END = "<|audio_eos|>"
CONTROL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END, AUDIO_START, AUDIO, AUDIO_END)
"""Tokens that structure a sequence; no text of a user or an answer may contain one."""

_NUM_BYTES = 256


def train_tokenizer(
    texts: Iterable[str], vocab_size: int, tags: Sequence[str]
) -> PreTrainedTokenizerFast:
    """Train byte-level BPE on `texts`: the same texts in the same order give the same tokenizer.

    Text is normalised (NFC) and split as Qwen2 does it, every digit apart.

    Args:
        texts: examples of what the model reads and writes; unseen characters fall back to bytes.
        vocab_size: upper bound, control tokens and tags included. Few texts give fewer.
        tags: names of languages and tasks that get a token of their own, such as `<|en|>` for "en".

    Raises:
        ValueError: `vocab_size` is too small for the bytes, control tokens and tags.
    """
    special = [*CONTROL_TOKENS, *(as_tag(name) for name in tags)]
    if vocab_size < _NUM_BYTES + len(special):
        raise ValueError(
            f"vocab_size is {vocab_size}; {_NUM_BYTES} bytes and {len(special)} special tokens "
            f"need at least {_NUM_BYTES + len(special)}. Raise it."
        )
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=special,
        clean_up_tokenization_spaces=False,
    )


def as_tag(name: str) -> str:
    """Return the token that names a language or a task in a prompt: `<|en|>` for "en"."""
    return f"<|{name}|>"


def build_processor(tokenizer: PreTrainedTokenizerFast, num_mel_bins: int) -> Qwen2AudioProcessor:
    """Build the processor for users of the checkpoint: tokenizer, mel settings, chat template."""
    extractor = WhisperFeatureExtractor(feature_size=num_mel_bins)
    # The template lives on instances only: make one to read it, then set it by name, because only
    # a template that was given is sure to be saved.
    template = Qwen2AudioProcessor(extractor, tokenizer).default_chat_template
    return Qwen2AudioProcessor(extractor, tokenizer, chat_template=template)
