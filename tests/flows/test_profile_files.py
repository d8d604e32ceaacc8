"""A profile of one's own is a file that may extend another; what is wrong with it is named."""

from pathlib import Path

import pytest

from flows.config import load_config
from flows.profile_files import ConfigError, read_profile


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_file_is_named_by_its_stem_and_changes_what_it_extends(tmp_path: Path) -> None:
    own = write(tmp_path / "mine.yaml", "extends: tiny\ndpo: {beta: 0.3}\n")
    config, tiny = load_config(own), load_config("tiny")
    assert config.profile == "mine"
    assert config.dpo
    assert config.dpo.beta == 0.3
    assert config.model_copy(update={"profile": "tiny", "dpo": tiny.dpo}) == tiny


def test_groups_are_merged_and_alternatives_replaced_whole(tmp_path: Path) -> None:
    write(
        tmp_path / "below.yaml",
        "extends: tiny\ndata: {folder: /a}\nsft: {mixture: {digits: 1}, label_smoothing: 0.2}\n",
    )
    own = write(tmp_path / "own.yaml", "extends: below.yaml\nsft: {mixture: {sound: 2}}\n")
    values = read_profile(own, ["sft.optimizer.steps=9"])
    assert values["data"] == {"folder": "/a"}
    assert values["sft"]["mixture"] == {"sound": 2}
    assert values["sft"]["label_smoothing"] == 0.2
    assert values["sft"]["optimizer"]["steps"] == 9
    assert values["sft"]["optimizer"]["examples_per_step"] == 4  # of tiny
    assert values["profile"] == "own"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: own.yaml\n", "extends itself: .*own.yaml -> .*own.yaml"),
        ("extends: tinny\n", r"there is no profile 'tinny'; there are \["),
        ("extends: [tiny]\n", r"extends is \['tiny'\]; name one profile"),
        ("a: [\n", "is no YAML"),
        ("just a text\n", "holds no keys"),
        ("", "holds no keys"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read_profile(write(tmp_path / "own.yaml", text))


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't be read: .*No such file"):
        read_profile(str(tmp_path / "none.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"can't be read|is no YAML"):
        read_profile(str(tmp_path / "bytes.yaml"))


def test_a_typing_error_is_answered_with_the_key_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean pretrain\.optimizer for pretrain\.optimi"):
        load_config("tiny", ["pretrain.optimiser.steps=1"])
    with pytest.raises(ConfigError, match=r"Did you mean resources\.num_workers for resources\.nu"):
        load_config("tiny", ["resources.num_worker=1"])
