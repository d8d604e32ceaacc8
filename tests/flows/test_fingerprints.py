"""What identifies an artifact stays as it is, so that a store of last month is still all hits."""

import json
from pathlib import Path

import pytest

from data_contracts.stage_record import fingerprint
from flows.composition import chosen
from flows.config import load_config
from flows.pipeline import STAGES

KEPT = json.loads(Path(__file__).with_name("fingerprints.json").read_text())
"""Profile -> stage -> fingerprint of its recipe at its version, without inputs. A change here makes
every store's artifacts of that stage new: it belongs with a raised `Stage.version` or a new field.
"""


@pytest.mark.parametrize("profile", KEPT)
def test_recipes_of_a_shipped_profile_keep_their_fingerprints(profile: str) -> None:
    config = load_config(profile)

    made = {
        stage.name: fingerprint(
            stage.name, stage.version, config.recipe(stage.name).model_dump(mode="json"), {}
        )[:12]
        for stage in chosen(config, STAGES)
    }

    assert made == KEPT[profile]
