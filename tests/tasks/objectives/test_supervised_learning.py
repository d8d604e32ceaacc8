"""What supervised training learns from: labels, variants, augmentation; what it asks `fit` for."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from data_contracts.records import Conversation, Turn
from infra.storage.store import Store
from model.augment import AugmentRecipe
from model.sequence import render
from model.tuning import TuningRecipe
from tasks.context import StageContext, StageResult
from tasks.corpus.index import CorpusIndex
from tasks.objectives import supervised
from tasks.objectives.supervised import (
    MIXTURE,
    SupervisedFactory,
    SupervisedObjective,
    SupervisedRecipe,
    fit_supervised,
)
from tasks.training.objective import ExampleSource
from tasks.training.recipe import OptimizerRecipe
from tasks.training_data.damaged_clips import DamagePolicy, Skipping, TrainingClips
from tasks.training_data.example_table import Column, ExampleTable
from tasks.training_data.examples import TrainingSet
from tasks.training_data.mixture import Mixture
from tests.support.recordings import stage_context
from tests.support.spoken_pairs import SECONDS, UNCHANGED, SpokenPairs

NOISY = AugmentRecipe(time_stretch=(1, 1), mel_shift=0, num_time_masks=0, num_mel_masks=0)


def asked(name: str, prompt: str, answer: str, *clips: str, task: str = "asr") -> Conversation:
    turns = (Turn(role="user", text=prompt, audio=clips), Turn(role="assistant", text=answer))
    return Conversation(id=name, format="completion", turns=turns, task=task)


EXAMPLES = (
    (asked("a", "say", "the lazy dog", "short"),),
    (asked("b", "say", "rain falls", "long", task="caption"),),
    tuple(asked("c", f"say {number}", "a dog", "short") for number in range(5)),
    tuple(asked("d", f"say {number}", "a dog", "short") for number in range(5)),
    (asked("e", "what is 1 2 3", "und 40"),),
)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> SpokenPairs:
    return SpokenPairs.make(tmp_path_factory.mktemp("supervised"))


def objective(spoken: SpokenPairs, **fields: Any) -> SupervisedObjective:
    parts = SupervisedFactory(spoken.corpus, EXAMPLES, UNCHANGED, label_smoothing=0.0, seed=0)
    return replace(parts, **fields)(spoken.processor)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_torchs_summed_over_the_tokens_of_answers_alone(
    spoken: SpokenPairs, smoothing: float
) -> None:
    """Of text alone, whose logits transformers' forward gives without audio."""
    found = objective(spoken, label_smoothing=smoothing)
    prepared = found.prepare([4], 0)
    sequence = render(EXAMPLES[4][0], spoken.processor.tokenizer, {})
    labels = np.flatnonzero(sequence.is_label)
    answer = spoken.processor.tokenizer.decode(sequence.input_ids[labels[:-1]])
    assert answer == "und 40"
    assert prepared.weight == len(labels) == prepared.batch.num_labels
    ids = torch.from_numpy(sequence.input_ids)
    with torch.no_grad():
        outcome = found.outcome(spoken.model, prepared)
        logits = spoken.model(input_ids=ids[None]).logits[0, labels - 1]
    expected = functional.cross_entropy(
        logits, ids[labels], reduction="sum", label_smoothing=smoothing
    )
    assert float(outcome.loss) == pytest.approx(float(expected), rel=1e-5)
    assert outcome.counts["tokens"] == len(sequence)


def test_only_answers_of_the_named_tasks_are_learnt_letter_by_letter(spoken: SpokenPairs) -> None:
    plain, spelled = objective(spoken), objective(spoken, letters=("asr",))
    tokenizer = spoken.processor.tokenizer
    assert plain.prepare([0], 0).weight < len("the lazy dog")
    prepared = spelled.prepare([0], 0)
    assert tokenizer.convert_ids_to_tokens(prepared.batch.labels.tolist())[:3] == ["t", "h", "e"]
    assert prepared.weight == len("the lazy dog") + 1  # and the end
    assert spelled.prepare([1], 0).weight == plain.prepare([1], 0).weight
    assert spelled.loads([0])[0].tokens == len(prepared.batch.input_ids)


def drawn(found: SupervisedObjective, tokenizer: Any, example: int, step: int) -> str:
    """The variant of an example that a step takes."""
    text = tokenizer.decode(found.batch([example], step).input_ids.tolist())
    return str(text.partition("say ")[2][:1])


def test_a_variant_is_drawn_by_the_seed_the_step_and_the_example_alone(spoken: SpokenPairs) -> None:
    """As Python's generator draws it: what is drawn is part of every recipe's result."""
    tokenizer = spoken.processor.tokenizer
    for seed in (0, 3):
        found = objective(spoken, seed=seed)
        for example, name in ((2, "c"), (3, "d")):
            expected = [
                str(random.Random(f"{seed} {step} {name}").choice(range(5))) for step in range(12)
            ]
            assert [drawn(found, tokenizer, example, step) for step in range(12)] == expected
    both = objective(spoken).batch([3, 2], 4)
    alone = [objective(spoken).batch([example], 4).input_ids for example in (3, 2)]
    assert torch.equal(both.input_ids, torch.cat(alone))


def features(spoken: SpokenPairs, example: int, step: int, **fields: Any) -> torch.Tensor:
    found = objective(spoken, augment=NOISY, **fields)
    (made,) = found.batch([example], step).features
    return made


def test_augmentation_differs_by_seed_step_and_clip_and_by_nothing_else(
    spoken: SpokenPairs,
) -> None:
    first = features(spoken, 0, 1)
    assert torch.equal(features(spoken, 0, 1), first)
    assert torch.equal(features(spoken, 2, 1), first), "the same clip, asked otherwise"
    assert not torch.equal(features(spoken, 0, 2), first)
    assert not torch.equal(features(spoken, 0, 1, seed=1), first)
    (plain,) = objective(spoken).batch([0], 1).features
    assert not torch.equal(plain, first)
    together = objective(spoken, augment=NOISY).batch([1, 0], 1).features
    added = [
        made - given
        for made, given in zip(together, objective(spoken).batch([1, 0], 1).features, strict=True)
    ]
    frames = min(noise.shape[1] for noise in added) - 2
    assert not torch.allclose(added[0][:, :frames], added[1][:, :frames], atol=1e-4)


def test_the_load_is_that_of_the_longest_variant(spoken: SpokenPairs) -> None:
    short, long = asked("v", "say", "a", "short"), asked("v", "say it all again", "a", "short")
    for variants in ((short, long), (long, short)):
        found = objective(spoken, examples=(variants,))
        longest = objective(spoken, examples=((long,),)).batch([0], 0)
        (load,) = found.loads([0])
        assert load.tokens == len(longest.input_ids)
        assert load.audio_tokens == len(longest.audio_positions)


def test_sources_name_clips_and_shards(spoken: SpokenPairs) -> None:
    shards = {name: spoken.reader.row(name).shard for name in SECONDS}
    assert objective(spoken).sources([1, 4]) == [
        ExampleSource("b", ("long",), (shards["long"],)),
        ExampleSource("e", (), ()),
    ]


def damage(corpus: Store, name: str) -> None:
    row = CorpusIndex(corpus).by_id[name]
    path = Path(corpus.path(row.shard))
    data = bytearray(path.read_bytes())
    data[row.offset + row.size // 2] ^= 1
    path.write_bytes(data)


def test_what_hears_a_skipped_clip_is_not_learnt_and_the_rest_is(tmp_path: Path) -> None:
    spoken = SpokenPairs.make(tmp_path)
    whole = objective(spoken).prepare([0, 1, 4], 0)
    rest = objective(spoken).prepare([1, 4], 0)
    damage(spoken.corpus, "short")
    skipping = Skipping(Store(str(tmp_path / "stage")), max_share=0.001)
    prepared = objective(spoken, skipping=skipping).prepare([0, 1, 4], 0)
    assert torch.equal(prepared.batch.input_ids, whole.batch.input_ids)
    assert torch.equal(prepared.batch.labels, rest.batch.labels)
    assert prepared.weight == rest.weight < whole.weight


class Logged:
    """Keeps the tables that are logged."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict[str, object]]] = {}

    def table(self, rows: list[dict[str, object]], file: str) -> None:
        self.tables[file] = rows


TABLE = ExampleTable(
    task=Column.of(["asr", "caption", "asr", "asr", "asr"]),
    language=Column.of(["en"] * 5),
    corpus=Column.of(["x"] * 5),
    num_samples=np.full(5, 16_000),
    num_audio_tokens=np.full(5, 25),
)
RECIPE = SupervisedRecipe(
    optimizer=OptimizerRecipe(
        steps=90, examples_per_step=2, learning_rate=1e-3, warmup_steps=0, seed=11
    ),
    tuning=TuningRecipe(audio_encoder="frozen"),
    augment=NOISY,
    label_smoothing=0.125,
    letters=("asr",),
    damage=DamagePolicy(on_damaged="skip", max_share=0.5),
)


def test_a_stage_trains_as_its_recipe_says_and_reports_the_mixture_and_what_it_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = SpokenPairs.make(tmp_path / "given")
    damage(spoken.corpus, "long")
    given: list[Any] = []
    said: list[str] = []
    logged: Any = Logged()
    context: Any = replace(
        stage_context(tmp_path / "stage", {"corpus": spoken.corpus}),
        logger=logged,
        progress=said.append,
    )

    def fit(where: StageContext, *arguments: Any) -> None:
        given.extend(arguments)
        assert not TrainingClips(spoken.reader, arguments[1].skipping)["long"].any()

    monkeypatch.setattr(supervised, "fit", fit)
    mixture = Mixture(tasks={"asr": 3, "caption": 1}, epochs=2)
    held_out: Any = object()
    initial = Store(str(tmp_path / "initial"))
    result = fit_supervised(
        context, initial, TrainingSet(EXAMPLES, TABLE), mixture, RECIPE, held_out
    )
    start, factory, data, optimizer, examiner = given
    assert (start.checkpoint, start.tuning, examiner) == (initial, RECIPE.tuning, held_out)
    assert factory == SupervisedFactory(
        spoken.corpus, EXAMPLES, NOISY, 0.125, 11, ("asr",), Skipping(context.directory, 0.5)
    )
    # Two epochs of five examples, two a step.
    assert optimizer == RECIPE.optimizer.model_copy(update={"steps": 5})
    assert data.num_steps == 5
    assert result == StageResult(5, 10, metrics={"skipped_clips": 1})
    row = CorpusIndex(spoken.corpus).by_id["long"]
    where = spoken.corpus.path(row.shard)
    assert said[1:] == [f"skipped, damaged: clip long in {where} at byte {row.offset}"]
    rows = [json.loads(line) for line in context.directory.read_text(MIXTURE).splitlines()]
    shares = {(row["axis"], row["name"]): row for row in rows}
    asr = shares["task", "asr"]
    num_asr = int(np.sum(np.isin(data.plan, [0, 2, 3, 4])))
    assert (asr["wanted_share"], asr["draws"]) == (0.75, num_asr)
    assert logged.tables == {"mixture.json": rows}
    assert said[0].startswith("10 examples planned; farthest from the wanted mixture is task ")
    farthest = "asr" if "task asr" in said[0] else "caption"
    share = shares["task", farthest]
    assert said[0].endswith(f": {share['share']:.2%}, wanted {share['wanted_share']:.2%}")
