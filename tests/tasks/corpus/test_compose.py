"""Planned compositions and how their waveforms are made."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_contracts.records import Clip
from tasks.conversations.prompts import answer_to_command
from tasks.conversations.task_table import shipped_tasks
from tasks.corpus.compose import (
    ComposeRecipe,
    Joined,
    Overlaid,
    plain,
    plan_compositions,
    plan_digit_strings,
    plan_spoken_commands,
)
from tasks.sources.manifest import DataSourceError
from tests.support.recordings import noise, tone

TASKS = shipped_tasks()
RECIPE = ComposeRecipe(
    digit_strings={"train": 30, "test": 10}, spoken_commands={"train": 20, "test": 10}
)


def clip(name: str, **fields: object) -> Clip:
    return Clip.model_validate({"id": name, "audio": f"{name}.wav", "targets": {}} | fields)


def voice(speaker: str, split: str = "train", digits: str = "0123456789") -> list[Clip]:
    return [
        clip(f"{speaker}-{digit}", targets={"digits": digit}, kind="digit", language="en",
             speaker=speaker, split=split, license=f"L-{speaker}")
        for digit in digits
    ]  # fmt: skip


def sound(name: str, group: str, split: str = "train") -> Clip:
    targets = {"sound": group, "caption": f"A {group}."}
    return clip(name, targets=targets, kind="sound", split=split, license="L-sound")


def command(name: str, phrase: str, split: str = "train") -> Clip:
    return clip(name, targets={"asr": phrase}, kind="command", phrase=phrase, split=split,
                language="en", speaker="s", license="L-command")  # fmt: skip


def test_a_command_over_a_sound_with_choices_keeps_the_question() -> None:
    question = "Which is it?\nA. a dog\nB. a cat"
    dog = clip("dog", targets={"sound": "dog", "choice": "A. a dog"}, kind="sound",
               question=question)  # fmt: skip
    planned = plan_spoken_commands([dog, command("c", "what sound is this")], TASKS, RECIPE)
    assert {made.clip.question for made in planned} == {question}


def test_a_digit_string_says_what_its_parts_say() -> None:
    clips = voice("anna") + voice("ben") + voice("carl", "test")
    planned = plan_digit_strings(clips, RECIPE)
    assert len(planned) == 40
    for made in planned:
        spoken = [part.targets["digits"] for part in made.parts]
        assert made.clip.targets == {"digits": " ".join(spoken)}
        assert 1 <= len(spoken) <= RECIPE.max_digits
        assert {part.speaker for part in made.parts} == {made.clip.speaker}
        assert made.clip.license == f"L-{made.clip.speaker}"
        assert isinstance(made.combine, Joined)
        assert len(made.combine.pauses_seconds) == len(spoken) - 1
        assert all(0.03 <= pause <= 0.2 for pause in made.combine.pauses_seconds)
    speakers = Counter(made.clip.speaker for made in planned if made.clip.split == "train")
    assert speakers == {"anna": 15, "ben": 15}  # in turn
    assert len({made.clip.id for made in planned}) == 40


@pytest.mark.parametrize(
    "clips",
    [
        voice("anna", digits="012345678"),
        [*voice("anna", digits="123456789"), clip("ten", targets={"digits": "10"}, kind="digit",
                                                 speaker="anna")],
        [made.model_copy(update={"speaker": None}) for made in voice("anna")],
        [made.model_copy(update={"kind": "speech"}) for made in voice("anna")],
        voice("anna", digits="01234") + voice("ben", digits="56789"),
        voice("anna", digits="01234") + voice("anna", "dev", digits="56789"),
    ],
    ids=["nine digits", "one to ten", "nobody knows who", "not digits", "two voices", "two splits"],
)  # fmt: skip
def test_only_one_known_voice_with_all_ten_digits_of_a_split_makes_strings(
    clips: list[Clip],
) -> None:
    assert plan_digit_strings(clips, RECIPE) == []


def test_a_spoken_command_asks_what_the_sound_can_answer() -> None:
    clips = [
        sound("dog", "animal"),
        sound("cough", "vocal"),
        sound("rain", "water"),
        command("c1", "what sound is this"),
        command("c2", "is this a person or an animal"),
        command("c3", "what instrument is playing"),
        command("c4", "sing along"),
    ]
    planned = plan_spoken_commands(clips, TASKS, RECIPE)
    assert len(planned) == 20
    for made in planned:
        sounding, spoken = made.parts
        assert (sounding.kind, spoken.kind, made.clip.kind) == ("sound", "command", "command")
        assert made.clip.phrase == spoken.phrase
        assert made.clip.targets == sounding.targets
        assert answer_to_command(TASKS, spoken.phrase or "", sounding.targets)
        assert made.clip.license == "L-command AND L-sound"
        assert isinstance(made.combine, Overlaid)
        assert made.combine == Overlaid(made.combine.snr_db, 0.4)
        assert made.combine.snr_db in RECIPE.snr_db
    asked = {(made.parts[1].id, made.parts[0].id) for made in planned}
    assert ("c2", "rain") not in asked  # neither a person nor an animal
    assert {name for name, _ in asked} == {"c1", "c2"}


CLIPS = st.lists(
    st.one_of(
        st.builds(
            voice, st.sampled_from(["a", "b", "c"]), st.sampled_from(["train", "dev", "test"])
        ),
        st.builds(
            lambda name, split: [sound(name, "animal", split)],
            st.sampled_from(["s1", "s2", "s3"]),
            st.sampled_from(["train", "dev", "test"]),
        ),
        st.builds(
            lambda name, split: [command(name, "what sound is this", split)],
            st.sampled_from(["c1", "c2"]),
            st.sampled_from(["train", "dev", "test"]),
        ),
    ),
    max_size=8,
)


@given(groups=CLIPS, seed=st.integers(0, 3))
def test_no_composition_mixes_splits_and_the_plan_is_a_function_of_its_input(
    groups: list[list[Clip]], seed: int
) -> None:
    clips = [made for group in groups for made in group]
    recipe = RECIPE.model_copy(update={"seed": seed})
    planned = plan_compositions(clips, TASKS, recipe)
    for made in planned:
        assert {part.split for part in made.parts} == {made.clip.split}
    random.seed(0)  # the global generator plays no part
    assert plan_compositions(clips, TASKS, recipe) == planned


def test_a_recording_with_the_id_of_a_composition_is_refused_before_any_work() -> None:
    with pytest.raises(DataSourceError, match=r"digits-train-00003.*Rename"):
        plan_compositions([*voice("anna"), clip("digits-train-00003")], TASKS, RECIPE)


def test_joined_parts_have_their_pauses_in_between() -> None:
    first, second, third = noise(0.1, 1), noise(0.2, 2), noise(0.3, 3)
    joined = Joined((0.05, 0.01))([first, second, third])
    assert joined.dtype == np.float32
    expected = [first, np.zeros(800), second, np.zeros(160), third]
    assert np.array_equal(joined, np.concatenate(expected))


def test_a_plain_recording_is_its_only_part() -> None:
    made = plain(clip("a"))
    waveform = noise(0.1, 1)
    assert made.parts == (made.clip,)
    assert np.array_equal(made.combine([waveform]), waveform)


@pytest.mark.parametrize("snr_db", [0.0, 5.0, 10.0])
@pytest.mark.parametrize(("sound_seconds", "command_seconds"), [(2.0, 0.5), (0.05, 2.0), (1, 1)])
def test_the_command_is_snr_db_above_the_sound(
    snr_db: float, sound_seconds: float, command_seconds: float
) -> None:
    sounding = tone(sound_seconds, 200, amplitude=0.02).astype(np.float32)
    spoken = tone(command_seconds, 1000, amplitude=0.3).astype(np.float32)
    mixed = Overlaid(snr_db, 0.25)([sounding, spoken])
    assert len(mixed) == max(len(sounding), 4_000 + len(spoken))
    placed = np.zeros(len(mixed))
    placed[4_000 : 4_000 + len(spoken)] = spoken
    rest = (mixed - placed)[: len(sounding)]
    power_ratio = np.mean(spoken.astype(float) ** 2) / np.mean(rest.astype(float) ** 2)
    assert 10 * np.log10(power_ratio) == pytest.approx(snr_db, abs=0.01)


def test_a_mix_over_full_scale_is_scaled_down_as_a_whole() -> None:
    parts = [tone(1, 200, amplitude=0.9).astype(np.float32)] * 2
    mixed = Overlaid(0, 0)(parts)
    assert np.abs(mixed).max() == pytest.approx(1.0)
    assert np.allclose(mixed, parts[0] / 0.9, atol=1e-3)


@pytest.mark.parametrize(
    "fields",
    [
        {"digit_strings": {"train": -1}},
        {"spoken_commands": {"train": -1}},
        {"pause_seconds": (-0.1, 0.2)},
        {"snr_db": ()},
        {"max_digits": 0},
    ],
)
def test_a_recipe_that_can_not_be_followed_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        ComposeRecipe.model_validate(fields)
