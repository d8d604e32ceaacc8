"""Small jobs of one's own: a finished checkpoint, some recordings, a shipped profile."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.run_request import RunRequest
from flows.runners import open_ledger
from infra.settings import Settings
from tasks.evaluate import read_report
from tasks.evaluation.report import Report
from tests.support.documents import ROOT
from tests.support.tiny_run import TinyRun, run_tiny

Row = Mapping[str, object]


@dataclass(frozen=True)
class OwnJob:
    """A place for one's own files and a home, and a checkpoint to start from."""

    folder: Path
    checkpoint: str

    def run(self, profile: str, data: Path, *overrides: str) -> TinyRun:
        """Run a profile as `q2a run --data DATA --from CHECKPOINT` does, without Prefect."""
        request = RunRequest(
            profile=profile,
            data=(str(data),),
            start=self.checkpoint,
            overrides=(*small(profile), *overrides),
        )
        settings = Settings(home=self.folder / "home", store="", tracking_uri="")
        return run_tiny(settings, request.load())

    def manifest(self, rows: Sequence[Row]) -> Path:
        """Write rows as a manifest."""
        path = self.folder / "own.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path


def small(profile: str) -> tuple[str, ...]:
    """Return the overrides that make a profile small, for the stage that it trains."""
    trained = {"align": "dpo", "finetune": "sft", "finetune-lora": "sft"}.get(profile)
    sizes = {"steps": 4, "examples_per_step": 4, "warmup_steps": 1}
    training = (f"{trained}.optimizer.{name}={size}" for name, size in sizes.items() if trained)
    return (*training, "evaluate.max_new_tokens=6")


def spoken_rows(count: int) -> list[dict[str, object]]:
    """Return transcribed recordings of the embedded corpus as rows without split and digest."""
    rows = map(json.loads, (ROOT / "data/manifest.jsonl").read_text().splitlines())
    spoken = [row for row in rows if set(row["targets"]) == {"asr"} and row["language"] == "en"]
    return [
        {
            "id": f"own-{number}",
            "audio": str(ROOT / "data" / row["audio"]),
            "task": "asr",
            "text": row["targets"]["asr"],
            "language": "en",
        }
        for number, row in enumerate(spoken[:count])
    ]


def as_folder(rows: Sequence[Row], folder: Path) -> Path:
    """Copy recordings and write their transcripts beside them."""
    folder.mkdir()
    for row in rows:
        audio = Path(str(row["audio"]))
        shutil.copy(audio, folder / f"{row['id']}{audio.suffix}")
        (folder / f"{row['id']}.txt").write_text(str(row["text"]))
    return folder


def report_of(run: TinyRun) -> Report:
    """Return the report that a run ended with."""
    outcome = run.outcomes[-1]
    assert outcome.stage == "evaluate"
    ledger = open_ledger(run.settings)
    return read_report(ledger.directory(outcome.stage, outcome.record.fingerprint))
