"""Stage 2: multi-task pre-training with natural-language prompts in place of task tags."""

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field

from data_contracts.records import Conversation, PackedClip, Task
from model.checkpoint import save_checkpoint
from model.construct import ModelRecipe, build_model
from model.tokenizer import build_processor, train_tokenizer
from tasks.context import StageContext, StageResult
from tasks.dialogues import completion, targets_by_task
from tasks.ingest import DIALOGUES, read_conversations
from tasks.prompts import completion_prompts
from tasks.shards import read_index
from tasks.supervised import Example, SupervisedRecipe, fit_supervised

INITIAL = "scratch/initial"
_INITIAL_DONE = "scratch/initial-done"


class PretrainRecipe(SupervisedRecipe):
    """Everything that changes the pre-trained weights."""

    model: ModelRecipe = ModelRecipe()
    mixture: dict[Task, float] = Field(description="task -> weight in the draw of examples")


def run(context: StageContext, recipe: PretrainRecipe) -> StageResult:
    """Train a tokenizer, build the model and pre-train it on the corpus's train split."""
    clips = read_index(context.inputs["corpus"])
    if not context.directory.exists(_INITIAL_DONE):
        build_initial(context, recipe, clips)
    examples, pools = completion_examples(clips)
    mixture = {str(task): weight for task, weight in recipe.mixture.items()}
    initial = context.directory.below(INITIAL)
    return fit_supervised(context, initial, examples, pools, mixture, recipe)


def build_initial(context: StageContext, recipe: PretrainRecipe, clips: list[PackedClip]) -> None:
    """Write the untrained checkpoint: tokenizer from the corpus's training texts, fresh weights."""
    dialogues = read_conversations(context.inputs["corpus"], DIALOGUES)
    languages = sorted({clip.language for clip in clips if clip.language})
    tokenizer = train_tokenizer(
        training_texts(clips, dialogues), recipe.model.vocab_size, languages
    )
    model = build_model(recipe.model, tokenizer)
    processor = build_processor(tokenizer, recipe.model.num_mel_bins)
    context.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=context.scratch) as folder:
        save_checkpoint(Path(folder), model, processor)
        context.directory.upload(Path(folder), INITIAL)
    context.directory.write_text(_INITIAL_DONE, "")


def training_texts(clips: list[PackedClip], dialogues: list[Conversation]) -> list[str]:
    """Every text of the train split, in a fixed order: transcripts, answers, prompts, dialogues."""
    texts = [text for clip in clips if clip.split == "train" for text in clip.targets.values()]
    prompts = {
        text
        for clip in clips
        for task in clip.targets
        for text in completion_prompts(task, clip.language)
    }
    texts += sorted(prompts)
    return texts + [
        turn.text for d in dialogues if d.split == "train" for turn in d.turns if turn.text
    ]


def completion_examples(clips: list[PackedClip]) -> tuple[list[Example], dict[str, list[int]]]:
    """One example a training clip and task, a variant a prompt; and their numbers by task."""
    examples: list[Example] = []
    pools: dict[str, list[int]] = defaultdict(list)
    for task, found in targets_by_task(clips).items():
        for clip in found:
            pools[task].append(len(examples))
            prompts = completion_prompts(task, clip.language)
            examples.append(tuple(completion(clip, task, prompt) for prompt in prompts))
    return examples, dict(pools)
