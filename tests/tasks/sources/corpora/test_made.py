"""What other tools write, as they write it: `webdataset` here, `datasets` and Lhotse in `made/`."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset

from data_contracts.records import Clip
from tasks.recordings.decode import decode
from tasks.recordings.read import read_audio
from tasks.sources.catalogue import CorpusSource, corpus_rows
from tests.support.corpus_trees.files import as_file, decoded, recordings

MADE = Path(__file__).parent / "made"


def clips_of(name: str, root: Path, split: str) -> list[Clip]:
    rows = corpus_rows(CorpusSource(name=name, root=str(root), splits=(split,)))
    return [row for row in rows if isinstance(row, Clip)]


def heard(clip: Clip) -> np.ndarray:
    data = read_audio(clip.audio, clip.begin_byte, clip.num_bytes)
    return np.asarray(decode(data, "unnamed").waveform)


def tone(text: str) -> np.ndarray:
    """The sine of a label."""
    number = ("one", "two", "three").index(text)
    samples, _ = soundfile.read(MADE / f"tones/tone{number}.wav", dtype="float32")
    return np.asarray(samples)


@pytest.mark.parametrize(
    ("folder", "split", "texts"),
    [
        ("dataset", "train", ["one", "two", "three"]),
        ("dataset_dict", "train", ["three", "two", "one"]),
        ("dataset_dict", "validation", ["three"]),
        ("dataset_dict", "test", ["one", "two", "three"]),
    ],
)
def test_data_sets_that_datasets_saved_have_each_its_own_sound_and_text(
    folder: str, split: str, texts: list[str]
) -> None:
    clips = clips_of("saved_dataset", MADE / folder, f"en/{split}")
    assert [clip.targets["asr"] for clip in clips] == texts
    for clip in clips:
        assert np.array_equal(heard(clip), tone(clip.targets["asr"]))
        speaker = 7 + ("one", "two", "three").index(clip.targets["asr"])
        assert clip.speaker == f"{folder}/{speaker}"


@pytest.mark.parametrize("packed", [True, False], ids=["packed cuts", "plain cuts"])
@pytest.mark.parametrize("audio", ["flac", "opus"])
def test_shards_that_lhotse_wrote_have_each_cut_its_own_sound_and_text(
    audio: str, packed: bool, tmp_path: Path
) -> None:
    root = tmp_path / "shar"
    shutil.copytree(MADE / f"shar_{audio}", root)
    for path in () if packed else root.glob("train/*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    clips = clips_of("shar", root, "en/train")
    assert [(clip.id, clip.targets["asr"], clip.speaker) for clip in clips] == [
        ("shar/train/cut-0.a", "one", "shar/spk0"),
        ("shar/train/cut-1.a", "two", "shar/spk1"),
        ("shar/train/cut-2.a", "three", "shar/spk2"),
        ("shar/train/half", "three", "shar/spk2"),
    ]
    for clip in clips:
        expected = tone(clip.targets["asr"])[400 if clip.id.endswith("half") else 0 :]
        found = heard(clip)
        if audio == "flac":
            assert np.array_equal(found, expected)
        else:  # lossy: the same pitch
            assert pitch(found) == pytest.approx(pitch(expected), rel=0.1)


def pitch(samples: np.ndarray) -> float:
    """Of the strongest sine, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 16_000))
    return float(spectrum.argmax())


def test_tars_that_webdataset_wrote_are_read_sample_by_sample(tmp_path: Path) -> None:
    folder = tmp_path / "wds/train"
    folder.mkdir(parents=True)
    sounds = [as_file(recordings()[number], "FLAC") for number in range(3)]
    with webdataset.ShardWriter(str(folder / "%03d.tar"), maxcount=2, verbose=0) as writer:
        for number, data in enumerate(sounds):
            writer.write({"__key__": f"a.b/utt{number}", "flac": data, "txt": f"grüß {number}"})
    clips = clips_of("webdataset", tmp_path / "wds", "de/train")
    assert [(clip.id, clip.targets["asr"]) for clip in clips] == [
        ("wds/train/000/a.b/utt0", "grüß 0"),
        ("wds/train/000/a.b/utt1", "grüß 1"),
        ("wds/train/001/a.b/utt2", "grüß 2"),
    ]
    for clip, data in zip(clips, sounds, strict=True):
        assert np.array_equal(heard(clip), decoded(data))
