"""Planted leaks stop the ingest, are dropped or are reported; what only looks like one passes."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_contracts.contract_result import ContractBreachError, enforce
from data_contracts.hygiene import Finding, HygieneReport
from data_contracts.jsonl import from_jsonl
from data_contracts.records import Rejected
from infra.storage.store import Store
from tasks import ingest
from tasks.corpus.compose import ComposeRecipe
from tasks.corpus.shards import read_index
from tasks.hygiene import inspect as inspection
from tasks.hygiene import page
from tasks.hygiene.inspect import HygieneRecipe
from tasks.ingest import IngestRecipe
from tasks.sources.manifest import DataSource
from tests.support.audio_copies import (
    as_mp3,
    as_opus,
    delayed,
    louder,
    manifest_rows,
    read,
    trimmed,
)
from tests.support.recordings import digests, row, stage_context, write_manifest, write_tones

ROWS = manifest_rows()
SPEECH = [r for r in ROWS if r["kind"] == "speech" and r["split"] == "test" and r["seconds"] > 1]
DROP = HygieneRecipe(on_leak="drop")


def plant(folder: Path, *more: dict[str, Any]) -> DataSource:
    """Forty real recordings of two splits, and rows whose audio lies in `folder`."""
    others = [r for r in ROWS if r["kind"] == "speech" and r["split"] == "train"][:400:20]
    return write_manifest(folder, [*others, *SPEECH[:200:10], *more])


def run(folder: Path, source: DataSource, hygiene: HygieneRecipe | None = None) -> Store:
    recipe = IngestRecipe(
        clips_per_shard=25, max_rejected_share=0.2, hygiene=hygiene or HygieneRecipe()
    )
    context = stage_context(folder)
    ingest.run(context, recipe, source)
    return context.directory


def report_of(directory: Store) -> HygieneReport:
    return HygieneReport.model_validate_json(directory.read_bytes(inspection.REPORT))


def leaks_of(directory: Store) -> list[Finding]:
    return [f for f in report_of(directory).findings if f.kind.endswith("_leak")]


def stop_message(directory: Store) -> str:
    *others, hygiene = ingest.check(directory)
    assert not any(result.failed for result in others)
    with pytest.raises(ContractBreachError) as caught:
        enforce(hygiene)
    return str(caught.value)


COPIES: dict[str, Callable[[np.ndarray], bytes]] = {
    "quiet.mp3": lambda w: as_mp3(louder(w, -12)),
    "late.opus": lambda w: as_opus(delayed(w, 0.03)),
    "trimmed.mp3": lambda w: as_mp3(louder(trimmed(w), -12)),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_test_recording_that_trains_at_another_level_and_format_stops_the_run(
    name: str, tmp_path: Path
) -> None:
    stolen = SPEECH[50]
    (tmp_path / name).write_bytes(COPIES[name](read(stolen)))
    planted = row("planted", audio=name, targets={"lid": "French"}, speaker="thief")
    directory = run(tmp_path / "out", plant(tmp_path, planted))
    (leak,) = leaks_of(directory)
    assert (leak.kind, leak.clip, leak.other) == ("audio_leak", "planted", stolen["id"])
    assert leak.value >= 0.88
    message = stop_message(directory)
    for text in ("hygiene.no_audio_leak", "'planted'", stolen["id"], "train and test",
                 "asked in", "ingest.hygiene.on_leak=drop"):  # fmt: skip
        assert text in message


def test_a_sentence_that_another_speaker_trains_on_stops_the_run(tmp_path: Path) -> None:
    stolen = next(r for r in SPEECH[::10] if "asr" in r["targets"])
    write_tones(tmp_path, ["planted"])
    text = f"  {stolen['targets']['asr'].upper()} !"
    planted = row("planted", targets={"asr": text}, language=stolen["language"], speaker="other")
    directory = run(tmp_path / "out", plant(tmp_path, planted))
    assert {(leak.kind, leak.clip, leak.other) for leak in leaks_of(directory)} == {
        ("text_leak", "planted", stolen["id"])
    }
    assert "hygiene.no_text_leak" in stop_message(directory)


def test_drop_rejects_the_training_side_and_what_is_composed_of_it(tmp_path: Path) -> None:
    voice = [r for r in ROWS if r["kind"] == "digit" and r["speaker"] == "ast_en"]
    stolen = voice[3]
    (tmp_path / "p.opus").write_bytes(as_opus(read(stolen)))
    trains = [r | {"split": "train"} for r in ROWS if r["speaker"] == "esp_en-us"]
    mine = [
        r | {"id": "planted", "audio": "p.opus", "sha256": None}
        if r["targets"].get("digits") == "3" and r["id"].endswith("-0") else r
        for r in trains if r["kind"] == "digit"
    ]  # fmt: skip
    source = write_manifest(tmp_path, [*mine, *voice])
    recipe = IngestRecipe(
        max_rejected_share=0.2,
        compose=ComposeRecipe(digit_strings={"train": 40, "test": 5}),
        hygiene=DROP,
    )
    context = stage_context(tmp_path / "out")
    result = ingest.run(context, recipe, source)
    directory = context.directory
    for contract in ingest.check(directory):
        enforce(contract)
    rejected = from_jsonl(directory.read_text("rejected.jsonl"), Rejected, "rejected")
    assert {r.reason for r in rejected} == {"leak"}
    assert "planted" in {r.id for r in rejected}
    assert len(rejected) > 1
    assert all(r.detail.startswith("planted: the same recording as") for r in rejected)
    index = read_index(directory)
    assert "planted" not in {part for clip in index for part in clip.origin}
    assert stolen["id"] in {clip.id for clip in index}
    assert result.records_in == len(index) + len(rejected)
    assert leaks_of(directory) == []


def test_report_lets_a_leak_pass_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "p.mp3").write_bytes(as_mp3(read(SPEECH[50])))
    source = plant(tmp_path, row("planted", audio="p.mp3", targets={"lid": "French"}))
    directory = run(tmp_path / "out", source, HygieneRecipe(on_leak="report"))
    results = ingest.check(directory)
    for result in results:
        enforce(result)
    (noted,) = [o for o in results[-1].reported if o.rule == "hygiene.no_tolerated_leak"]
    assert noted.examples[0].id == "planted"


def test_a_clean_corpus_passes_and_its_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    directory = run(tmp_path / "out", plant(tmp_path))
    for result in ingest.check(directory):
        enforce(result)
    report = report_of(directory)
    assert report.recordings == 40
    assert report.clips_by["kind"]["speech"] == {"train": 20, "dev": 0, "test": 20}
    for histogram in report.histograms:
        assert len(histogram.edges) == 31
    durations = report.histograms[0]
    assert {name: sum(counts) for name, counts in durations.counts.items()} == {
        "train": 20, "test": 20
    }  # fmt: skip
    text = directory.read_text(inspection.PAGE)
    assert "No leaks between splits." in text
    for word in ("http:", "https:", "<script", "src=", "url("):
        assert word not in text


def test_a_run_that_was_killed_continues_with_the_features_that_it_has(tmp_path: Path) -> None:
    source = plant(tmp_path)
    out = tmp_path / "out"
    run(out, source)
    whole = digests(out)
    features = sorted((out / "scratch").glob("features-*.npz"))
    assert len(features) == 2
    kept = features[1].stat().st_ino
    features[0].unlink()
    run(out, source)
    assert digests(out) == whole
    assert features[1].stat().st_ino == kept


def test_a_page_escapes_what_comes_from_data() -> None:
    hostile = "<script>alert('x')</script>"
    finding = Finding(kind="audio_leak", clip=hostile, other="b", detail=hostile, value=1)
    report = HygieneReport(
        recordings=1, seconds=1, compositions=0,
        clips_by={"language": {hostile: {"train": 1, "dev": 0, "test": 0}}},
        histograms=(), counts={"audio_leak": 30}, findings=(finding,) * 25, proposed_pairs=1,
        identifier=hostile,
    )  # fmt: skip
    text = page.render(report)
    tags = re.findall(r"<(\w+)", text)
    assert "script" not in tags
    assert "Leaks between splits: 30." in text
    assert "5 more in hygiene.jsonl" in text


def test_hygiene_json_is_what_its_record_says(tmp_path: Path) -> None:
    directory = run(tmp_path / "out", plant(tmp_path))
    values = json.loads(directory.read_text(inspection.REPORT))
    assert set(values) == set(HygieneReport.model_fields)
