"""The mixtures of the shipped profiles weigh nothing that their data does not have."""

import json

import pytest

from flows.config import load_config
from flows.profile_files import profile_names
from tasks.conversations.task_table import REPLAY
from tasks.sources.catalogue import find_corpus
from tests.support.documents import ROOT

FROM_SOUNDS = {"spoken_command", "multi_turn", "two_clips"}
"""Dialogues that are made of labelled sounds."""


@pytest.mark.parametrize("profile", profile_names())
def test_every_weighed_task_is_a_label_of_the_profiles_data(profile: str) -> None:
    config = load_config(profile)
    if config.data.corpora:
        labels = {t for source in config.data.corpora for t in find_corpus(source.name).tasks}
    else:
        rows = (ROOT / "data/manifest.jsonl").read_text().splitlines()
        labels = {task for row in map(json.loads, rows) for task in row["targets"]}
    trainings = [recipe for recipe in (config.pretrain, config.sft) if recipe]
    weighed = {task for recipe in trainings for task in recipe.mixture.tasks}
    assert {task.removeprefix(REPLAY) for task in weighed} <= labels | FROM_SOUNDS
