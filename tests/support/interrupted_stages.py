"""Stages of the tiny pipeline that are interrupted, damaged and continued, in this process."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO
from unittest.mock import patch

from data_contracts.stage_record import RECORD, SCRATCH
from flows.config import load_config
from flows.pipeline import pipeline
from flows.stage import Artifact, StageCall
from infra.storage.store import Store
from tasks.training.fit import FINAL_STATE
from tests.support.recordings import stage_context
from tests.support.tiny_run import OVERRIDES, TinyRun, history_numbers

TRAINING_ENDS = (
    "mixture.jsonl", "checkpoint/*", "parity.json", "training_state/history.json",
    "training_state/position.json", "training_state/*.safetensors",
)  # fmt: skip
STATES = (
    "scratch/states/*/history.json", "scratch/states/*/optimizer.safetensors",
    "scratch/states/*/parameters.safetensors", "scratch/states/*/position.json",
    "scratch/audit/*.json",
)  # fmt: skip
MESSAGES = ("scratch/notices/*.json", "scratch/progress.txt")


def alignment(*patterns: str) -> tuple[str, ...]:
    return tuple(f"scratch/alignment/{pattern}" for pattern in patterns)


@dataclass(frozen=True)
class Kinds:
    """The kinds of files of a stage, as patterns of their keys; the first that matches counts."""

    ends_before: str
    """File before which the stage is interrupted."""
    begun: tuple[str, ...]
    """What lies in its folder then."""
    later: tuple[str, ...] = ()
    """What else it writes, or deletes at once."""
    overrides: tuple[str, ...] = ()
    """What makes the profile `tiny` the configuration of the stage."""

    def of(self, key: str) -> str | None:
        return next((kind for kind in (*self.begun, *self.later) if fnmatch(key, kind)), None)


STAGES = {
    "ingest": Kinds(
        ends_before="corpus/index.jsonl",
        begun=(
            "scratch/features-*.npz", "scratch/features-*.npz.sha256",
            "scratch/findings-*.jsonl", "scratch/findings.jsonl",
            "corpus/shard-*.tar", "corpus/shard-*.jsonl", "corpus/shards.jsonl",
            "corpus/long_audio.json", "dialogues.jsonl", "hygiene.html", "hygiene.json",
            "hygiene.jsonl", "prompts.jsonl", "rejected.jsonl", "suites/*.jsonl", "tasks.json",
        ),
        later=("corpus/index.jsonl",),
    ),
    "start": Kinds(
        ends_before="checkpoint/tokenizer_config.json",
        begun=("checkpoint/*.safetensors", "checkpoint/*"),
        later=("checkpoint/tokenizer_config.json",),
    ),
    "pretrain": Kinds(
        ends_before="scratch/states/00000004/position.json",
        begun=(
            *alignment("scratch/checkpoint.sha256", *STATES[:-1], *MESSAGES[1:]),
            *alignment(*TRAINING_ENDS[1:]),
            *STATES, *MESSAGES[1:], "mixture.jsonl",
        ),
        later=(*alignment(STATES[-1], MESSAGES[0]), *TRAINING_ENDS, MESSAGES[0]),
        overrides=(
            "pretrain.alignment={optimizer: {steps: 4, examples_per_step: 4, "
            "learning_rate: 1.0e-3, warmup_steps: 1}}",
            "pretrain.optimizer.steps=8",
        ),
    ),
    "sft": Kinds(
        ends_before="parity.json",
        begun=(*STATES[:-1], *MESSAGES[1:], *TRAINING_ENDS[:2], *TRAINING_ENDS[3:]),
        later=("parity.json", STATES[-1], MESSAGES[0]),
    ),
    "collect_preferences": Kinds(
        ends_before="pairs.jsonl",
        begun=("scratch/answers-*.jsonl", "scratch/answers-*.jsonl.sha256"),
        later=("pairs.jsonl",),
    ),
    "dpo": Kinds(
        ends_before="scratch/states/00000004/position.json",
        begun=(
            "reference_log_probs.json", "scratch/reference_log_probs.json.sha256",
            *STATES, *MESSAGES[1:],
        ),
        later=(*TRAINING_ENDS[1:], MESSAGES[0]),
    ),
    "evaluate": Kinds(
        ends_before="report.json",
        begun=(
            "scratch/predictions-*.jsonl", "scratch/predictions-*.jsonl.sha256",
            "items.jsonl", "predictions.jsonl", "report.html",
        ),
        later=("report.json",),
    ),
}  # fmt: skip


@contextmanager
def watched(root: Path, written: set[str], ends_before: str | None) -> Iterator[None]:
    """Note what is written below `root`, and interrupt whoever begins to write a certain file."""
    plain = Store.create

    @contextmanager
    def create(store: Store, key: str) -> Iterator[BinaryIO]:
        path = Path(store.path(key))
        if path.is_relative_to(root):
            name = path.relative_to(root).as_posix()
            if name == ends_before:
                raise KeyboardInterrupt
            written.add(name)
        with plain(store, key) as stream:
            yield stream

    with patch.object(Store, "create", create), patch("os.fsync"):
        yield


@dataclass
class InterruptedStage:
    """A stage of the tiny pipeline, its folder at an interruption, and its undisturbed files."""

    name: str
    run: TinyRun
    home: Path
    written: set[str] = field(default_factory=set)
    """Keys of all files that the stage has written, at any time."""

    def __post_init__(self) -> None:
        kinds = STAGES[self.name]
        self.call = self._call(kinds.overrides)
        self.begun = self.home / "begun"
        with suppress(KeyboardInterrupt):
            self.make(self.begun, kinds.ends_before)
        if kinds.overrides:
            self.make(self.home / "undisturbed")
            self.undisturbed = contents(Store(str(self.home / "undisturbed")))
        else:
            self.undisturbed = contents(self.run.artifact(self.name))

    def _call(self, overrides: Sequence[str]) -> StageCall:
        calls: dict[str, StageCall] = {}

        def note(call: StageCall) -> Artifact:
            calls[call.stage.name] = call
            return call.artifact

        manifest = f"data.manifest={self.run.config.data.manifest}"
        pipeline(load_config("tiny", (manifest, *OVERRIDES, *overrides)), note)
        return calls[self.name]

    def make(self, folder: Path, ends_before: str | None = None) -> list[str]:
        """Begin, or continue, the stage in a folder; return its progress lines."""
        lines: list[str] = []
        inputs = {
            name: self.run.artifact(artifact.stage.name)
            for name, artifact in self.call.inputs.items()
        }
        context = replace(
            stage_context(folder, inputs),
            resources=self.run.config.resources,
            progress=lines.append,
        )
        source = (self.call.source.value,) if self.call.source else ()
        with watched(folder, self.written, ends_before):
            self.call.stage.run(context, self.call.recipe, *source)
        return lines

    def copy(self, folder: Path) -> Path:
        """Copy what the interruption left."""
        return shutil.copytree(self.begun, folder)


def contents(artifact: Store) -> dict[str, object]:
    """Read all that must be the same in every run: everything but what clocks measured."""
    same: dict[str, object] = {}
    for key in artifact.list_keys():
        if key == RECORD or key.startswith(SCRATCH):
            continue
        same[key] = artifact.digest(key)
        if key == f"{FINAL_STATE}/history.json":
            same[key] = history_numbers(artifact)
        elif key == f"{FINAL_STATE}/position.json":
            position = json.loads(artifact.read_text(key))
            same[key] = {name: position[name] for name in ("step", "audited", "watch", "identity")}
    return same


def one_bit(path: Path) -> None:
    """Flip a bit in the middle of a file; an empty one gets a byte."""
    data = bytearray(path.read_bytes() or b"\0")
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def half(path: Path) -> None:
    """Cut the second half of a file off."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "one bit flipped": one_bit,
    "second half lost": half,
    "deleted": Path.unlink,
}
