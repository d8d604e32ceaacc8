"""Estimates of the stages that draw answers: collecting preferences, and evaluation."""

from infra.compute.hardware import ACCELERATORS, GIB
from model.costs.decoding import (
    AnswerSizes,
    answering_bytes,
    cache_bytes,
    decoding_flops,
    prefill_flops,
    read_bytes_a_step,
)
from model.costs.shapes import count_parameters
from model.tuning import TuningRecipe
from tasks.collect_preferences import CollectRecipe
from tasks.conversations.suites import num_suites
from tasks.conversations.task_table import shipped_tasks
from tasks.estimates.estimate import (
    Estimate,
    ExampleSize,
    Premises,
    peak_flops,
    priced,
    usable_gib,
)
from tasks.evaluate import EvaluateRecipe
from tasks.evaluation.answerer import PROMPTS_AT_ONCE
from tasks.ingest import IngestRecipe

_SHARE_OF_BANDWIDTH = 0.6
"""Share of the memory's stated bandwidth that decoding reaches."""


def estimate_preferences(premises: Premises, recipe: CollectRecipe) -> Estimate:
    """Estimate sampling for all prompts that ingest draws, none of the answers ended early."""
    resources = premises.resources
    prompts = sum(_corpus(premises).dialogues.prompts.values())
    sizes = _sizes(premises.example, recipe.num_samples, recipe.max_new_tokens)
    jobs = -(-prompts // recipe.prompts_per_chunk)
    return _answers(premises, sizes, prompts, min(jobs, resources.num_workers))


def estimate_evaluation(premises: Premises, recipe: EvaluateRecipe) -> Estimate:
    """Estimate full suites of the shipped tasks, answered by every checkpoint, none ended early."""
    num_items = num_suites(shipped_tasks()) * _corpus(premises).suites.items
    sizes = _sizes(premises.example, 1, recipe.max_new_tokens)
    workers = min(premises.checkpoints, premises.resources.num_workers)
    return _answers(premises, sizes, premises.checkpoints * num_items, workers)


def _corpus(premises: Premises) -> IngestRecipe:
    """Return the recipe of the corpus, which says how many prompts and items there are."""
    recipe = premises.corpus
    if not isinstance(recipe, IngestRecipe):
        raise TypeError(f"{premises.key} reads its corpus from {type(recipe).__name__}, no ingest")
    return recipe


def _sizes(size: ExampleSize, samples: int, new_tokens: int) -> AnswerSizes:
    return AnswerSizes(
        prompts=PROMPTS_AT_ONCE,
        samples=samples,
        prompt_tokens=size.tokens(size.audio_seconds, answers=0),
        window_positions=(size.positions(size.audio_seconds),),
        new_tokens=new_tokens,
    )


def _answers(premises: Premises, sizes: AnswerSizes, prompts: int, workers: int) -> Estimate:
    """Estimate rounds of prompts on some workers.

    Reading a prompt takes the time of its operations; writing an answer that of its operations or
    of reading the weights from memory, whichever is slower.
    """
    config, resources = premises.shape, premises.resources
    count = count_parameters(config, TuningRecipe())
    rounds = prompts / sizes.prompts
    read, write = prefill_flops(config, sizes), decoding_flops(config, sizes)
    speed = peak_flops(resources, "float32") * resources.share_of_peak
    writing = write / speed
    if resources.accelerator != "cpu":
        bandwidth = ACCELERATORS[resources.accelerator].bandwidth * _SHARE_OF_BANDWIDTH
        fetched = read_bytes_a_step(config, count, sizes) * sizes.new_tokens
        writing = max(writing, fetched / bandwidth)
    hours = rounds * (read / speed + writing) / workers / 3600
    held = answering_bytes(config, count, sizes) / GIB
    weights, cache = 4 * count.total / GIB, cache_bytes(config, sizes) / GIB
    allowed = usable_gib(resources)
    fits = None if allowed is None else held <= allowed
    notes = []
    if fits is False:
        notes.append(
            f"needs {held:.0f} GiB, {allowed:.0f} are usable: {cache:.0f} are keys and values of "
            f"{sizes.prompts} prompts, {sizes.samples} answers each of {sizes.new_tokens} tokens "
            "at most. Lower the number of samples or of new tokens."
        )
    return Estimate(
        examples=prompts * sizes.samples,
        tokens=prompts * (sizes.prompt_tokens + sizes.samples * sizes.new_tokens),
        audio_hours=prompts * premises.example.audio_seconds / 3600,
        flops=round(rounds * (read + write)),
        memory_gib={"weights": weights, "cache": cache, "logits": held - weights - cache},
        peak_gib=held,
        moment="drawing",
        fits=fits,
        notes=tuple(notes),
        **priced(resources, workers, hours),
    )
