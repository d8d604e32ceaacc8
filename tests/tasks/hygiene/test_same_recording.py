"""Clips of one recording: what the manifest declares is no finding, what it hides is one."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.hygiene import Finding, HygieneReport
from data_contracts.jsonl import from_jsonl
from infra.storage.store import Store
from tasks import ingest
from tasks.hygiene import inspect as inspection
from tasks.hygiene.same_recording import IDENTITY, SAME, Families
from tasks.ingest import IngestRecipe
from tests.support.audio_copies import as_mp3, as_opus, louder, manifest_rows, read
from tests.support.recordings import row, sound_file, stage_context, write_manifest, write_tones

SPEECH = [r for r in manifest_rows() if r["kind"] == "speech" and r["seconds"] > 1]
AUDIO = ("repeated_audio", "audio_leak")


def captions(name: str, count: int, split: str = "train", **fields: Any) -> list[dict[str, Any]]:
    """Rows of one file, as Clotho, AudioCaps and CoVoST 2 have them."""
    defaults = {"audio": name, "kind": "sound", "language": None, "split": split} | fields
    return [
        row(f"{split}-{name}-{n}", targets={"caption": f"{n} dogs bark"}, **defaults)
        for n in range(count)
    ]


def examined(folder: Path, rows: list[dict[str, Any]]) -> Store:
    context = stage_context(folder / "out")
    ingest.run(context, IngestRecipe(), write_manifest(folder, rows))
    return context.directory


def all_findings(directory: Store) -> list[Finding]:
    return from_jsonl(directory.read_text(inspection.FINDINGS), Finding, "hygiene")


def about_audio(directory: Store) -> list[Finding]:
    return [finding for finding in all_findings(directory) if finding.kind in AUDIO]


@pytest.mark.parametrize("part", [{}, {"begin_seconds": 0.2, "end_seconds": 0.9}])
def test_captions_of_one_recording_or_of_one_part_of_it_are_no_repeated_audio(
    part: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "a.wav").write_bytes(sound_file(read(SPEECH[0])))
    assert about_audio(examined(tmp_path, captions("a.wav", 5, **part))) == []


def test_captions_of_one_recording_in_two_splits_are_leaks(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound_file(read(SPEECH[0])))
    rows = [*captions("a.wav", 3), *captions("a.wav", 2, "test")]
    found = about_audio(examined(tmp_path, rows))
    assert [(f.kind, f.clip, f.other) for f in found] == [
        ("audio_leak", f"train-a.wav-{n}", "test-a.wav-0") for n in range(3)
    ]
    assert all(f.detail.startswith("the same samples as") for f in found)


def test_a_recording_of_a_hundred_captions_is_found_in_another_split_all_the_same(
    tmp_path: Path,
) -> None:
    """A fingerprint that is there so often would propose nothing; one caption speaks for all."""
    (tmp_path / "a.wav").write_bytes(sound_file(read(SPEECH[0])))
    (tmp_path / "b.mp3").write_bytes(as_mp3(louder(read(SPEECH[0]), -12)))
    rows = [*captions("a.wav", 100), *captions("b.mp3", 1, "test")]
    found = about_audio(examined(tmp_path, rows))
    assert [f.kind for f in found] == ["audio_leak"] * 100
    assert {f.other for f in found} == {"test-b.mp3-0"}


def test_copies_of_a_recording_in_a_split_are_one_finding_with_their_number(
    tmp_path: Path,
) -> None:
    """Copies to the byte, at other levels and in other formats; of one there are two captions."""
    waveform = read(SPEECH[0])
    files = {
        "a.wav": sound_file(waveform), "b.wav": sound_file(waveform),
        "c.mp3": as_mp3(waveform), "d.mp3": as_mp3(louder(waveform, -9)),
        "e.opus": as_opus(waveform), "f.wav": sound_file(louder(waveform, -6)),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "other.wav").write_bytes(sound_file(read(SPEECH[70])))
    names = [*files, "b.wav", "other.wav"]
    rows = [{**captions(name, 1)[0], "id": f"{n}"} for n, name in enumerate(names)]
    (found,) = about_audio(examined(tmp_path, rows))
    assert (found.kind, found.clip, found.other, found.value) == ("repeated_audio", "0", "1", 6)
    assert "6 times in train" in found.detail


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_families_are_those_that_a_search_through_all_pairs_finds(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Leaks and families as a graph that is searched by hand, in whatever order pairs come."""
    count = data.draw(st.integers(0, 14))
    small = st.lists(st.integers(0, 4), min_size=count, max_size=count)
    content, source, rank = data.draw(small), data.draw(small), data.draw(small)
    found = np.empty(count, IDENTITY)
    found["bytes"], found["rank"] = content, np.array(rank, int) % 3
    found["source"] = [10 * b + s for b, s in zip(content, source, strict=True)]
    pairs = [*combinations(range(count), 2)]
    near = data.draw(st.lists(st.sampled_from(pairs), max_size=12)) if pairs else []

    def twin(number: int) -> int:
        same = [
            n
            for n in range(count)
            if found[["bytes", "rank"]][n] == found[["bytes", "rank"]][number]
        ]
        return min(same)

    edges = {(twin(a), twin(b)): 0.9 for a, b in near if twin(a) != twin(b)}
    same = np.array([(a, b, value, 0.1) for (a, b), value in edges.items()], SAME)
    families = Families(found, tmp_path_factory.mktemp("families") / "files")
    for pair in np.split(same, len(same)) if len(same) else ():
        families.add(pair)
    assert families.twins.tolist() == [twin(n) for n in range(count)]

    ranks = found["rank"].tolist()
    joined = {frozenset(edge) for edge in edges} | {
        frozenset(pair) for pair in pairs if content[pair[0]] == content[pair[1]]
    }
    group = list(range(count))
    for _ in range(count):
        for a, b in map(sorted, joined):
            if ranks[a] == ranks[b]:
                group[a] = group[b] = min(group[a], group[b])
    expected = {
        first: len(sources)
        for first in set(group)
        if len(sources := {int(found["source"][n]) for n in range(count) if group[n] == first}) > 1
    }
    repeats = {repeat.first: repeat for repeat in families.repeats()}
    assert {first: repeat.num_sources for first, repeat in repeats.items()} == expected
    for first, repeat in repeats.items():
        assert group[repeat.other] == first
        assert found["source"][repeat.other] != found["source"][first]

    later = {
        n: {
            other for other in range(count)
            if frozenset((twin(n), twin(other))) in joined and ranks[other] > ranks[n]
        }
        for n in range(count)
    }  # fmt: skip
    leaks = {leak.near: leak.far for leak in families.leaks()}
    assert leaks.keys() == {n for n, others in later.items() if others}
    for n, far in leaks.items():
        assert ranks[far] == max(ranks[other] for other in later[n])
        assert far in later[n]


def test_all_findings_are_in_a_file_and_counted_and_the_report_holds_the_foremost(
    tmp_path: Path,
) -> None:
    names = [f"{n:02d}" for n in range(40)]
    write_tones(tmp_path, names)
    directory = examined(tmp_path, [row(name, targets={"asr": "доброе утро"}) for name in names])
    found = [f.clip for f in all_findings(directory) if f.kind == "wrong_script"]
    assert sorted(found) == names
    report = HygieneReport.model_validate_json(directory.read_bytes(inspection.REPORT))
    assert report.counts["wrong_script"] == 40
    assert [f.clip for f in report.findings if f.kind == "wrong_script"] == names[:25]
    outcome = next(
        o for o in inspection.check(directory).reported if o.rule == "hygiene.no_wrong_script"
    )
    assert outcome.unexpected_count == 40
    assert "15 more in hygiene.jsonl" in directory.read_text(inspection.PAGE)
