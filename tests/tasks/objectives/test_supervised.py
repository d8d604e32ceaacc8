"""The objectives' loads, against the batches that they make."""

import pytest
import torch
from transformers import Qwen2AudioProcessor

from data_contracts.answer_records import PreferencePair
from data_contracts.records import Clip, Conversation, PackedClip, Turn
from infra.compute.interface import Worker
from infra.compute.resources import Loading
from infra.storage.store import Store
from model.augment import AugmentRecipe
from model.tokenizer import build_processor, train_tokenizer
from tasks.corpus.reader import ClipReader
from tasks.corpus.shards import MadeClip, write_shard
from tasks.objectives.preference import DpoFactory, DpoObjective, collate_preferences
from tasks.objectives.supervised import SupervisedFactory, SupervisedObjective
from tasks.training.loader import LoadedStep, Loader
from tasks.training.objective import MicroBatch
from tasks.training.split import Load
from tasks.training_data.mixture_plan import plan_mixture
from tests.support.recordings import noise

SECONDS = {"short": 0.3, "long": 2.1, "windows": 31.0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[PackedClip]]:
    store = Store(str(tmp_path_factory.mktemp("corpus")))
    clips = (
        MadeClip(Clip(id=name, audio="-", targets={"asr": name}), noise(seconds, 1), 0.0, (name,))
        for name, seconds in SECONDS.items()
    )
    return store, write_shard(store, 0, clips)


@pytest.fixture(scope="module")
def processor() -> Qwen2AudioProcessor:
    return build_processor(train_tokenizer(["some words to hear"], 400, ["en"]), 80)


def dialogue(name: str, prompt: str, clips: tuple[str, ...]) -> Conversation:
    turns = (Turn(role="user", text=prompt, audio=clips), Turn(role="assistant", text="words"))
    return Conversation(id=name, format="chat", turns=turns, task="asr")


EXAMPLES = (
    (dialogue("a", "what", ("short",)),),
    (dialogue("b", "what", ("long", "short")),),
    (dialogue("c", "what is heard in the recording", ()),),
    (dialogue("d", "what", ("windows",)),),
)


@pytest.mark.parametrize("factor", [1.0, 0.5, 1.18])
def test_loads_are_the_tokens_of_the_batch(
    corpus: tuple[Store, list[PackedClip]], processor: Qwen2AudioProcessor, factor: float
) -> None:
    store, rows = corpus
    augment = AugmentRecipe(time_stretch=(factor, factor))
    factory = SupervisedFactory(store, EXAMPLES, augment, 0.0, seed=0)
    objective = SupervisedObjective(factory, ClipReader(store, rows), processor)
    loads = objective.loads([3, 2, 1, 0])
    for number, load in zip([3, 2, 1, 0], loads, strict=True):
        batch = objective.batch([number], step=0)
        assert load == Load(len(batch.input_ids), len(batch.audio_positions))
    assert [load.audio_tokens > 0 for load in loads] == [True, False, True, True]


def test_no_variant_and_no_stretch_is_longer_than_the_load(
    corpus: tuple[Store, list[PackedClip]], processor: Qwen2AudioProcessor
) -> None:
    store, rows = corpus
    variants = (dialogue("a", "what is heard in there", ("long",)), dialogue("a", "?", ("long",)))
    recipe = AugmentRecipe(time_stretch=(0.85, 1.18))
    factory = SupervisedFactory(store, (variants,), recipe, 0.0, seed=0)
    objective = SupervisedObjective(factory, ClipReader(store, rows), processor)
    (load,) = objective.loads([0])
    drawn = {len(objective.batch([0], step).input_ids) for step in range(60)}
    assert load.tokens - 3 <= max(drawn) <= load.tokens


def test_loads_of_pairs_are_the_tokens_of_their_trees(
    corpus: tuple[Store, list[PackedClip]], processor: Qwen2AudioProcessor
) -> None:
    store, rows = corpus
    pair = PreferencePair(
        id="p", prompt=EXAMPLES[1][0].model_copy(update={"turns": EXAMPLES[1][0].turns[:1]}),
        chosen="some words", rejected="words to hear", chosen_score=1, rejected_score=0, ranker="r",
    )  # fmt: skip
    reader = ClipReader(store, rows)
    objective = DpoObjective(DpoFactory(store, (pair,), {}, 0.1), reader, processor)
    batch = collate_preferences([pair], reader, processor)
    assert objective.loads([0]) == [Load(len(batch.input_ids), len(batch.audio_positions))]


def test_batches_made_ahead_in_threads_are_bit_equal(
    corpus: tuple[Store, list[PackedClip]], processor: Qwen2AudioProcessor
) -> None:
    store, rows = corpus
    factory = SupervisedFactory(store, EXAMPLES, AugmentRecipe(), 0.0, seed=0)
    plan = plan_mixture({"asr": range(4)}, {"asr": 1}, steps=12, examples_per_step=4, seed=0)

    def made(loading: Loading) -> list[LoadedStep[MicroBatch]]:
        objective = SupervisedObjective(factory, ClipReader(store, rows, 100_000), processor)
        with Loader(plan, objective, Worker(0, 1), 2_000, loading) as loader:
            return list(loader)

    plain = made(Loading(threads=1, steps_ahead=0))
    ahead = made(Loading(threads=4, steps_ahead=6))
    assert len(plain) == len(ahead) == 12
    for one, other in zip(plain, ahead, strict=True):
        assert one.examples == other.examples
        for mine, theirs in zip(one.micro_batches, other.micro_batches, strict=True):
            assert torch.equal(mine.batch.input_ids, theirs.batch.input_ids)
            for left, right in zip(mine.batch.features, theirs.batch.features, strict=True):
                assert torch.equal(left, right)
