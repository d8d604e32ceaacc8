"""Builds the checkpoint that a run starts from: by a recipe alone or from pre-trained weights."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator, model_validator
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from data_contracts.digest import digest_of
from data_contracts.errors import DataError
from data_contracts.recipe import Recipe
from data_contracts.records import Conversation, NonEmpty, PackedClip
from infra.storage.store import Store
from model.checkpoints.adapters import load_adapted
from model.checkpoints.assemble import assemble
from model.checkpoints.checkpoint import load_checkpoint
from model.checkpoints.construct import ModelRecipe, build_model
from model.encoder import encode_frames
from model.projector import fit_projector, transcript_targets
from model.tokenizer import build_processor, train_tokenizer
from tasks.context import StageContext
from tasks.conversations.prompts import PromptStyle, training_prompts
from tasks.conversations.tags import tag_names
from tasks.conversations.task_table import TaskTable
from tasks.corpus.artifact import DIALOGUES, read_conversations, read_tasks
from tasks.corpus.features import clip_features
from tasks.corpus.index import CorpusIndex
from tasks.corpus.reader import ClipReader

_CLIPS_AT_ONCE = 16
_OF_MLFLOW = "registered_model_meta"

Built = tuple[Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor]


class TowersRecipe(Recipe):
    """A model of a pre-trained encoder and a pre-trained language model."""

    kind: Literal["towers"]
    """Kind of the start: a pre-trained audio encoder and language model."""
    ridge_clips: int = Field(1000, ge=0)
    """Transcribed clips that the projector is fitted to; 0: it stays random."""
    ridge_penalty: float = Field(0.01, gt=0)
    """Penalty of the fit, above 0, as a share of the number of frames."""
    seed: int = 0
    """Seed of the random weights, and of which clips the projector is fitted to."""


class ReleasedRecipe(Recipe):
    """A finished Qwen2-Audio checkpoint, as it is."""

    kind: Literal["released"]
    """Kind of the start: a released Qwen2-Audio."""


class StartRecipe(Recipe):
    """Everything that changes the checkpoint that a run starts from."""

    model: Annotated[ModelRecipe | TowersRecipe | ReleasedRecipe, Field(discriminator="kind")] = (
        ModelRecipe()
    )
    """Random weights of a shape, two pre-trained towers, or a released model."""
    prompts: PromptStyle = "natural"
    """Style of the prompts whose words the tokenizer of a model from scratch learns."""

    @property
    def reads_corpus(self) -> bool:
        """Return whether the corpus decides about the checkpoint: a released one is as it is."""
        return not isinstance(self.model, ReleasedRecipe)


class WeightSource(Recipe):
    """Folders or URLs of pre-trained weights in transformers' layout.

    Two towers, or one released checkpoint. The path is not part of any identity, the content is.
    """

    audio_encoder: NonEmpty | None = None
    """Folder or URL of a Whisper of any size."""
    language_model: NonEmpty | None = None
    """Folder or URL of a Qwen2, a Llama or a first-generation Qwen, with its tokenizer."""
    released: NonEmpty | None = None
    """Folder or URL of a Qwen2-Audio, or of adapters of one in peft's layout; a registered version,
    models:/NAME@ALIAS; or ORG/NAME in the cache of Hugging Face's hub."""

    adapter: NonEmpty | None = None
    """Folder or URL of adapters in peft's layout, which are merged into `released`."""

    @field_validator("audio_encoder", "language_model", "released", "adapter")
    @classmethod
    def _absolute(cls, url: str | None) -> str | None:
        """Make a path absolute: workers, and whoever resumes, have other working directories."""
        if url is None or "://" in url or url.startswith("models:"):
            return url
        path = Path(url).expanduser()
        is_hub_name = url.count("/") == 1 and url[0] not in "./~" and not path.exists()
        return url if is_hub_name else str(path.absolute())

    @model_validator(mode="after")
    def _one_kind(self) -> "WeightSource":
        given = (self.audio_encoder is not None, self.language_model is not None)
        if given != ((False, False) if self.released else (True, True)):
            raise ValueError(
                f"weights has audio_encoder={self.audio_encoder!r}, language_model="
                f"{self.language_model!r} and released={self.released!r}; give the first two, or "
                "the last alone"
            )
        if self.adapter and not self.released:
            raise ValueError(
                f"weights has adapter={self.adapter!r} without `released`, the checkpoint that it "
                "was made for; give both"
            )
        return self

    @property
    def kind(self) -> str:
        """Return the kind of the recipe that such weights are for."""
        return "released" if self.released else "towers"

    @property
    def folders(self) -> dict[str, str]:
        """Return the folders and URLs that are given, by name."""
        return {name: url for name, url in self if url is not None}


class WeightSourceError(DataError, ValueError):
    """No weights are given for the recipe, or their folder has none."""


def weights_digest(source: WeightSource, digest: Callable[[Store, str], str] = Store.digest) -> str:
    """Digest pre-trained weights: the name and sha256 of every file.

    Args:
        digest: returns the sha256 of one file of a store.

    Raises:
        WeightSourceError: a folder is missing or empty.
    """
    digests = {}
    for name, url in source.folders.items():
        store = Store(url)
        keys = store.list_keys()
        if not keys:
            raise WeightSourceError(
                f"weights.{name} is {url!r}, where there is no file. Give a folder that "
                "save_pretrained of transformers wrote; `make pretrained` makes those of the "
                "profile demo-pretrained."
            )
        # MLflow leaves a file about itself in a folder from which it has loaded.
        digests[name] = {key: digest(store, key) for key in keys if key != _OF_MLFLOW}
    return digest_of(digests)


def build_initial(context: StageContext, recipe: StartRecipe, source: WeightSource | None) -> Built:
    """Build the model and the processor to begin with.

    Raises:
        WeightSourceError: the weights that are given are not those that the recipe needs.
    """
    model = recipe.model
    if isinstance(model, ModelRecipe):
        return _from_scratch(context, model, recipe.prompts)
    if source is None or source.kind != model.kind:
        raise WeightSourceError(
            f"start.model.kind is {model.kind!r}, which needs other weights than {source}. "
            "Give them as `weights:` in the profile."
        )
    if isinstance(model, TowersRecipe):
        return _from_towers(context, model, source)
    with Store(source.folders["released"]).local_folder("", context.scratch) as folder:
        if source.adapter is None:
            return load_checkpoint(folder)
        with Store(source.adapter).local_folder("", context.scratch) as adapter:
            return load_adapted(adapter, folder)


def _from_scratch(context: StageContext, recipe: ModelRecipe, style: PromptStyle) -> Built:
    """Make fresh weights, and train a tokenizer on the corpus's training texts."""
    corpus = context.inputs["corpus"]
    clips = CorpusIndex(corpus)
    dialogues, tasks = read_conversations(corpus, DIALOGUES), read_tasks(corpus)
    tags = {clip.language for clip in clips if clip.language}
    tags |= {clip.target_language for clip in clips if "s2tt" in clip.targets}
    if style == "tags":
        tags |= set(tag_names(tasks))
    texts = training_texts(clips, dialogues, tasks, style)
    tokenizer = train_tokenizer(texts, recipe.vocab_size, sorted(tags))
    return build_model(recipe, tokenizer), build_processor(tokenizer, recipe.num_mel_bins)


def _from_towers(context: StageContext, recipe: TowersRecipe, source: WeightSource) -> Built:
    """Join an encoder and a language model by a projector that is fitted to transcribed clips."""
    with (
        Store(source.folders["audio_encoder"]).local_folder("", context.scratch) as encoder,
        Store(source.folders["language_model"]).local_folder("", context.scratch) as text,
    ):
        model, processor = assemble(encoder, text, recipe.seed)
    if recipe.ridge_clips:
        clips = CorpusIndex(context.inputs["corpus"])
        _fit_projector(context, recipe, clips, model, processor)
    return model, processor


@torch.inference_mode()
def _fit_projector(
    context: StageContext,
    recipe: TowersRecipe,
    clips: Sequence[PackedClip],
    model: Qwen2AudioForConditionalGeneration,
    processor: Qwen2AudioProcessor,
) -> None:
    """Fit transcribed training clips to the embeddings of their words by ridge regression."""
    transcribed = [clip for clip in clips if clip.split == "train" and clip.targets.get("asr")]
    random.Random(recipe.seed).shuffle(transcribed)
    chosen = transcribed[: recipe.ridge_clips]
    reader = ClipReader(context.inputs["corpus"], chosen)
    num_mel_bins = processor.feature_extractor.feature_size
    frames, targets = [], []
    for start in range(0, len(chosen), _CLIPS_AT_ONCE):
        some = chosen[start : start + _CLIPS_AT_ONCE]
        features = clip_features(reader, [clip.id for clip in some], num_mel_bins)
        encoded, counts = encode_frames(model, list(features.values()))
        words = [processor.tokenizer.encode(clip.targets["asr"]) for clip in some]
        frames.append(encoded)
        targets.append(transcript_targets(model, words, counts))
    all_frames = torch.cat(frames)
    penalty = recipe.ridge_penalty * len(all_frames)
    fit_projector(model, all_frames, torch.cat(targets), penalty)
    context.progress(f"projector fitted to {len(all_frames)} frames of {len(chosen)} clips")


def training_texts(
    clips: Sequence[PackedClip],
    dialogues: Sequence[Conversation],
    tasks: TaskTable,
    style: PromptStyle,
) -> list[str]:
    """Collect all texts of the train split, in a fixed order: answers, prompts, dialogues."""
    train = [clip for clip in clips if clip.split == "train"]
    texts = [text for clip in train for text in clip.targets.values()]
    prompts = {
        text
        for clip in train
        for task in clip.targets
        for text in training_prompts(tasks, task, clip, style)
    }
    texts += sorted(prompts)
    return texts + [
        turn.text for d in dialogues if d.split == "train" for turn in d.turns if turn.text
    ]
