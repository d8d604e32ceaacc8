"""What this folder holds: tone clips, saved by Hugging Face `datasets` and by Lhotse.

pip install datasets==5.2.0 lhotse==1.33.0 soundfile==0.14.0 torch==2.13.0 requests
python make.py
"""

import shutil
from pathlib import Path

import datasets
import numpy as np
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

RATE = 16_000
TEXTS = ("one", "two", "three")
HERE = Path(__file__).parent


def main() -> None:
    """Write all of it again."""
    paths = tones(HERE / "tones")
    plain = datasets.Dataset.from_dict(
        {"audio": [str(path) for path in paths], "text": list(TEXTS), "speaker_id": [7, 8, 9]}
    ).cast_column("audio", datasets.Audio())
    fresh("dataset")
    plain.save_to_disk(HERE / "dataset")
    fresh("dataset_dict")
    splits = {"train": plain.shuffle(seed=3), "validation": plain.select([2]), "test": plain}
    datasets.DatasetDict(splits).save_to_disk(HERE / "dataset_dict")
    for audio in ("flac", "opus"):
        folder = fresh(f"shar_{audio}") / "train"
        folder.mkdir(parents=True)
        CutSet.from_cuts(cuts(paths)).to_shar(folder, fields={"recording": audio}, shard_size=2)


def fresh(name: str) -> Path:
    """A folder of this one, without what was there."""
    shutil.rmtree(HERE / name, ignore_errors=True)
    return HERE / name


def tones(folder: Path) -> list[Path]:
    """Three sines of a twentieth of a second."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(len(TEXTS)):
        paths.append(folder / f"tone{number}.wav")
        wave = np.sin(2 * np.pi * 200 * (number + 1) * np.arange(RATE // 20) / RATE)
        soundfile.write(paths[-1], wave / 2, RATE)
    return paths


def cuts(paths: list[Path]) -> list[MonoCut]:
    """Whole recordings, and the second half of one whose words are all spoken there."""
    found = []
    for number, (path, text) in enumerate(zip(paths, TEXTS, strict=True)):
        recording = Recording.from_file(path)
        begin = 0.025 if number == 2 else 0.0
        said = SupervisionSegment(
            f"s{number}", recording.id, begin, 0.025, text=text, speaker=f"spk{number}"
        )
        cut = MonoCut(
            f"cut-{number}.a", 0, recording.duration, 0, supervisions=[said], recording=recording
        )
        found.append(cut)
    return [*found, found[2].truncate(offset=0.025).with_id("half")]


if __name__ == "__main__":
    main()
