"""Splits that are made where no row names one: without leaks, always the same, and said."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from data_contracts.clip_contracts import MANIFEST
from data_contracts.clip_tables import manifest_frames
from data_contracts.records import Clip
from data_contracts.validation import validate_slices
from tasks import ingest
from tasks.sources.manifest import DataSource, iter_source, source_digest, source_splits
from tasks.sources.splits import MadeSplits, make_splits
from tests.support import ingests
from tests.support.recordings import stage_context, write_manifest, write_tones
from tests.support.source_rows import read_source

SHARES = {"train": 0.9, "dev": 0.05, "test": 0.05}


def speech(name: str, **fields: Any) -> Clip:
    return Clip.model_validate(
        {"id": name, "audio": f"{name}.wav", "targets": {"asr": name}} | fields
    )


def divided(
    clips: list[Clip], shares: Mapping[str, float] = SHARES
) -> tuple[MadeSplits, list[Clip]]:
    made = make_splits(iter(clips), dict(shares))  # type: ignore[arg-type]
    assert made is not None
    return made, [clip for clip in made.given_to(clips) if isinstance(clip, Clip)]


def counts(clips: list[Clip]) -> dict[str, int]:
    return dict(Counter(clip.split for clip in clips))


@pytest.mark.parametrize(
    ("num_rows", "wanted"),
    [
        (1, {"train": 1}),
        (2, {"train": 2}),
        (3, {"train": 1, "dev": 1, "test": 1}),
        (9, {"train": 7, "dev": 1, "test": 1}),
        (10, {"train": 6, "dev": 2, "test": 2}),
        (30, {"train": 26, "dev": 2, "test": 2}),  # 1.5 of 30, rounded
        (200, {"train": 180, "dev": 10, "test": 10}),
    ],
)
def test_a_twentieth_is_held_out_but_one_row_of_three_and_two_of_ten_at_least(
    num_rows: int, wanted: dict[str, int]
) -> None:
    _, clips = divided([speech(f"clip {number}") for number in range(num_rows)])
    assert counts(clips) == wanted


def test_a_row_keeps_its_split_whatever_the_order_of_the_rows() -> None:
    clips = [speech(f"clip {number}", speaker=f"voice {number % 40}") for number in range(200)]
    _, ordered = divided(clips)
    random.Random(1).shuffle(clips)
    _, shuffled = divided(clips)
    assert {c.id: c.split for c in ordered} == {c.id: c.split for c in shuffled}


def test_no_voice_is_in_two_splits_where_there_are_enough() -> None:
    made, clips = divided(
        [speech(f"clip {number}", speaker=f"voice {number % 20}") for number in range(200)]
    )
    homes = defaultdict(set)
    for clip in clips:
        homes[clip.speaker].add(clip.split)
    assert all(len(splits) == 1 for splits in homes.values())
    assert counts(clips) == {"train": 180, "dev": 10, "test": 10}
    assert (made.summary.by, made.summary.groups) == ("speaker", 20)


def test_two_voices_are_too_few_and_their_recordings_are_divided() -> None:
    made, clips = divided(
        [speech(f"clip {number}", speaker=f"voice {number % 2}") for number in range(40)]
    )
    assert counts(clips) == {"train": 36, "dev": 2, "test": 2}
    assert (made.summary.by, made.summary.groups) == ("content", 40)


@pytest.mark.parametrize(
    "shared",
    [
        {"phrase": "a dog"},
        {"targets": {"asr": "A dog!"}},
        {"targets": {"s2tt": "un chien"}},
        {"sha256": "ab" * 32},
        {"audio": "long.wav"},
        {"speaker": "ann", "targets": {"lid": "French"}},
        {"targets": {"caption": "A dog."}, "conversation": [{"role": "user", "audio": ["pair 0"]}]},
    ],
)
def test_rows_that_share_what_gives_an_answer_away_stay_together(shared: dict[str, Any]) -> None:
    pairs = [speech(f"pair {number}", **shared) for number in range(5)]
    others = [
        speech(f"clip {number}", targets=dict.fromkeys(pairs[0].targets, f"text {number}"))
        for number in range(60)
    ]
    clips = divided([*others, *pairs], {"train": 0.4, "dev": 0.3, "test": 0.3})[1]
    assert len({clip.split for clip in clips if clip.id.startswith("pair")}) == 1
    assert len({clip.split for clip in clips}) == 3


def test_rows_are_joined_through_others() -> None:
    """a - b by phrase, b - c by recording, ...: a chain of 50 rows is one group."""
    chain = [
        speech(
            f"link {number}",
            phrase=f"phrase {number // 2}",
            audio=f"{(number + 1) // 2}.wav",
        )
        for number in range(50)
    ]
    random.Random(2).shuffle(chain)
    made, clips = divided([*chain, *(speech(f"clip {number}") for number in range(50))])
    assert len({clip.split for clip in clips if clip.id.startswith("link")}) == 1
    assert made.summary.groups == 51


def test_each_combination_of_tasks_is_tested() -> None:
    sounds = [speech(f"sound {n}", targets={"sound": "dog"}, kind="sound") for n in range(6)]
    _, clips = divided([*(speech(f"clip {n}") for n in range(400)), *sounds])
    held_out = [clip.id for clip in clips if clip.split == "test" and "sound" in clip.targets]
    assert len(held_out) == 1


def test_made_splits_keep_the_contract_of_the_manifest() -> None:
    draw = random.Random(3)
    clips = [
        speech(
            f"clip {number}",
            language="en",
            speaker=f"voice {draw.randrange(50)}",
            phrase=f"phrase {draw.randrange(150)}",
            targets={draw.choice(["asr", "lid", "digits"]): f"text {draw.randrange(200)}"},
        )
        for number in range(300)
    ]
    result = validate_slices(MANIFEST, manifest_frames(divided(clips)[1]), "manifest")
    assert [outcome.rule for outcome in result.outcomes if not outcome.success] == []


def test_one_voice_that_is_learnt_can_not_be_divided_and_this_is_said() -> None:
    clips = [speech(f"clip {n}", speaker="ann", targets={"digits": str(n)}) for n in range(30)]
    made, clips = divided(clips)
    assert counts(clips) == {"train": 30}
    assert made.summary.by == "nothing"
    assert "all 30 are train" in str(made.summary)
    assert "they are 1, too few to divide" in str(made.summary)


def rows(num_rows: int, **fields: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"r{n}", "audio": f"r{n}.wav", "task": "asr", "text": f"text {n}", "language": "en"}
        | fields
        for n in range(num_rows)
    ]


def test_a_row_that_names_a_split_keeps_all_as_they_are(tmp_path: Path) -> None:
    named = write_manifest(tmp_path / "one", [*rows(30), *rows(1, id="last", split="train")])
    assert source_splits(named) is None
    assert {clip.split for clip in read_source(named)[0]} == {"train"}


def test_all_rows_are_train_where_the_shares_say_so(tmp_path: Path) -> None:
    source = write_manifest(tmp_path, rows(30))
    train = source.model_copy(update={"splits": {"train": 1.0}})
    assert {clip.split for clip in read_source(train)[0]} == {"train"}
    assert source_digest(train) != source_digest(source)


def test_rejected_rows_keep_their_places(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in rows(9)]
    source = write_manifest(tmp_path, [*lines[:4], "not JSON", *lines[4:]])
    whole = write_manifest(tmp_path / "whole", lines)
    found = list(iter_source(source))
    assert [row.id for row in found] == [
        "r0",
        "r1",
        "r2",
        "r3",
        "line 5",
        "r4",
        "r5",
        "r6",
        "r7",
        "r8",
    ]
    assert read_source(source)[0] == [
        clip.model_copy(update={"audio": clip.audio.replace("/whole", "")})
        for clip in read_source(whole)[0]
    ]


@pytest.mark.parametrize(
    ("shares", "rule"),
    [({"train": 0.9}, "add up to 0.9"), ({"train": 1.5, "test": -0.5}, "greater than or equal")],
)
def test_shares_that_are_no_shares_are_refused(shares: dict[str, float], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        DataSource.model_validate({"folder": "x", "splits": shares})


def test_ingest_says_how_it_divided_and_keeps_it_with_the_corpus(tmp_path: Path) -> None:
    names = [f"r{number}" for number in range(12)]
    write_tones(tmp_path / "in", names)
    source = write_manifest(tmp_path / "in", rows(12))
    said: list[str] = []
    context = stage_context(tmp_path / "out")
    ingest.run(type(context)(**{**vars(context), "progress": said.append}), ingests.BARE, source)
    assert any("made 8 train, 2 dev, 2 test by content, of 12 groups" in line for line in said)
    kept = json.loads((tmp_path / "out" / ingest.SPLITS).read_text())
    assert kept["rows"] == {"train": 8, "dev": 2, "test": 2}
    assert kept["by"] == "content"


def test_nothing_is_said_of_splits_that_the_rows_name(tmp_path: Path) -> None:
    write_tones(tmp_path / "in", ["r0", "r1", "r2"])
    ingests.run(
        tmp_path / "out", ingests.BARE, write_manifest(tmp_path / "in", rows(3, split="dev"))
    )
    assert not (tmp_path / "out" / ingest.SPLITS).exists()
