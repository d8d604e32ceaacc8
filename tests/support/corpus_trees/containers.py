"""Trees of recordings in the containers of toolkits: Kaldi, WebDataset, Lhotse Shar, datasets."""

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.support.corpus_trees.files import (
    RATE,
    add,
    as_file,
    decoded,
    recordings,
    sound,
    soundtrack,
    text,
)
from tests.support.corpus_trees.tree import Heard, Tree


def kaldi(root: Path) -> Tree:
    outside = root.parent / "elsewhere/call 1.wav"
    outside.parent.mkdir()
    part = soundtrack(outside, 1.25, 2.5)
    text(
        root / "train/wav.scp",
        f"call1 {outside}\ncall2 wav/c1.wav\ncall1 wav/c1.wav\ncall3\ncall4 wav/c1.wav\n",
    )
    text(
        root / "train/segments",
        "u1 call1 1.25 3.75\nu2 call9 0 1\nu3 call1 5 4\nu5 call2 0 -1\nu6 call2 0 -1 0\n"
        "u7 call3 0 1\nu8 call4 0 1 0\nu9 call4 0 1 1\nu10 call1 0 soon\n",
    )
    text(
        root / "train/text",
        "u1 hello there\nu2 gone\nu3 backwards\nu4 nowhere\nu5 to the end\nu6 one channel\n"
        "u7 no path\nu8 left\nu9 right\nu10 when\nu1 said twice\n",
    )
    text(root / "train/utt2spk", "u1 ann\nu2 ann\nu3 ann\n")
    text(root / "test/wav.scp", "c1 wav/c1.wav\nc2 wav/c2.wav\n")
    text(root / "test/text", "c1 bye\n")
    whole = sound(1, root / "wav/c1.wav")
    name = root.name
    return Tree(
        ("en/train", "en/test"),
        {
            f"{name}/train/u1": Heard(part, {"asr": "hello there"}, "train", "en", f"{name}/ann"),
            f"{name}/train/u5": Heard(whole, {"asr": "to the end"}, "train", "en"),
            f"{name}/train/u6": Heard(whole, {"asr": "one channel"}, "train", "en"),
            f"{name}/test/c1": Heard(whole, {"asr": "bye"}, "test", "en"),
        },
        {
            f"{name}/train/wav.scp line 3": "invalid_row",
            f"{name}/train/text line 11": "invalid_row",
            **{f"{name}/train/u{n}": "invalid_row" for n in (2, 3, 4, 7, 8, 9, 10)},
            f"{name}/test/c2": "invalid_row",
        },
    )


def webdataset(root: Path) -> Tree:
    (root / "train").mkdir(parents=True)
    first, second = (as_file(recordings()[i], "FLAC") for i in (0, 1))
    with tarfile.open(root / "train/000000.tar", "w") as tar:
        add(tar, "a/utt.1.flac", b"not of this sample")
        add(tar, "./u1.flac", first)
        add(tar, "./u1.txt", b"good morning\n")
        add(tar, "u2.txt", "grüß Gott".encode())
        add(tar, "u2.flac", second)
        add(tar, "../../u5.flac", second)
        add(tar, "../../u5.txt", b"leads out")
        link = tarfile.TarInfo("u3.flac")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        add(tar, "u3.txt", b"a link has no bytes")
        add(tar, "u4.wav", b"text")
        add(tar, "u4.txt", b"no audio")
    with tarfile.open(
        root / "train/000001.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1"
    ) as tar:
        add(tar, "u2.flac", first)
        add(tar, "u2.txt", b"\xef\xbb\xbfMoin")
        add(tar, "café.flac", first)
        add(tar, "u6.flac", first)
        add(tar, "u6.wav", first)
        add(tar, "u6.txt", b"which of them")
        add(tar, "u7.flac", first)
        add(tar, "u7.txt", "in Latin-1: grüß Gott".encode("latin-1"))
        add(tar, "u8.flac", first)
        add(tar, "u8.txt", b"too long " * 20_000)
        add(tar, "u2.wav", first)
    name = root.name
    return Tree(
        ("de/train",),
        {
            f"{name}/train/000000/./u1": Heard(
                decoded(first), {"asr": "good morning"}, "train", "de"
            ),
            f"{name}/train/000000/u2": Heard(decoded(second), {"asr": "grüß Gott"}, "train", "de"),
            f"{name}/train/000001/u2": Heard(decoded(first), {"asr": "Moin"}, "train", "de"),
        },
        {
            f"{name}/train/000000/u4": "not_audio",
            f"{name}/train/000000/../../u5.flac": "refused_member",
            f"{name}/train/000000/../../u5.txt": "refused_member",
            f"{name}/train/000000/u3.flac": "refused_member",
            f"{name}/train/000000/a/utt": "missing_file",
            f"{name}/train/000001/caf\\udce9.flac": "refused_member",
            f"{name}/train/000001/u6": "invalid_row",
            f"{name}/train/000001/u7": "invalid_row",
            f"{name}/train/000001/u8": "invalid_row",
            f"{name}/train/000001/u2": "invalid_row",
        },
    )


def shar(root: Path) -> Tree:
    (root / "dev").mkdir(parents=True)
    data = as_file(recordings()[0], "FLAC")
    cuts: list[dict[str, Any]] = []
    with tarfile.open(root / "dev/recording.000000.tar", "w") as tar:
        for cut_id in ("cut-1", "cut-2"):
            spoken = [
                {"id": "s2", "recording_id": "r", "start": 0.4, "duration": 0.2, "channel": 0,
                 "text": "world", "language": "English", "speaker": "ann"},
                {"id": "s1", "recording_id": "r", "start": 0.0, "duration": 0.2, "channel": 0,
                 "text": "hello", "language": "English", "speaker": "ann"},
            ]  # fmt: skip
            source = {"type": "shar", "channels": [0], "source": ""}
            recording = {"id": "r", "sources": [source], "sampling_rate": RATE,
                         "num_samples": len(recordings()[0]), "duration": 0.87}  # fmt: skip
            cut = {"id": cut_id, "start": 0, "duration": 0.87, "channel": 0, "type": "MonoCut"}
            cuts.append(cut | {"supervisions": spoken, "recording": recording})
            if cut_id == "cut-1":
                add(tar, "cut-1.flac", data)
                add(tar, "cut-1.json", json.dumps(recording).encode())
            else:
                add(tar, "cut-2.nodata", b"")
                add(tar, "cut-2.nometa", b"")
    with gzip.open(root / "dev/cuts.000000.jsonl.gz", "wt") as lines:
        lines.writelines(json.dumps(cut) + "\n" for cut in cuts)
        lines.writelines(
            (
                json.dumps(cuts[0] | {"id": "\ud800"}) + "\n",
                json.dumps(cuts[0]) + "\n",
                "[7]\n",
                "{no\n",
            )
        )
        lines.write(
            '{"id": 7}\n{"id": "cut-3", "duration": 1, "supervisions": [{"text": "when"}]}\n'
        )
    name = root.name
    rejected = {
        f"{name}/dev/cut-2": "missing_file",
        f"{name}/dev/\\ud800": "missing_file",
        f"{name}/dev/cut-1": "missing_file",
        **{f"{name}/dev/cuts.000000.jsonl.gz line {n}": "invalid_row" for n in (5, 6, 7, 8)},
    }
    heard = Heard(decoded(data), {"asr": "hello world"}, "dev", "en", f"{name}/ann")
    return Tree(("en/dev",), {f"{name}/dev/cut-1": heard}, rejected)


def saved_dataset(root: Path) -> Tree:
    folder = root / "validation"
    outside = sound(2, root / "outside.wav")
    files = [as_file(recordings()[i], "WAV") for i in (0, 1)]
    audio = pa.array(
        [{"bytes": files[0], "path": "a.wav"}, {"bytes": None, "path": "outside.wav"},
         {"bytes": files[1], "path": None}, None],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )  # fmt: skip
    columns = pa.table(
        {
            "audio": audio,
            "sentence": ["one", "two", "three", "four"],
            "speaker_id": pa.array([7, 8, None, 9]),
        }
    )
    folder.mkdir(parents=True)
    names = []
    # Two files, the second of two batches: places count from the file's begin.
    for number, part in enumerate((columns.slice(0, 1), columns.slice(1))):
        names.append(f"data-{number:05d}-of-00002.arrow")
        path = str(folder / names[-1])
        with pa.OSFile(path, "wb") as stream, pa.ipc.new_stream(stream, part.schema) as writer:
            writer.write_table(part, max_chunksize=2)
    features = {
        "audio": {"sampling_rate": RATE, "_type": "Audio"},
        "sentence": {"dtype": "string", "_type": "Value"},
        "speaker_id": {"dtype": "int64", "_type": "Value"},
    }
    text(root / "dataset_dict.json", json.dumps({"splits": ["validation"]}))
    text(folder / "dataset_info.json", json.dumps({"features": features}))
    text(
        folder / "state.json",
        json.dumps({"_data_files": [{"filename": name} for name in names], "_fingerprint": "0"}),
    )
    name = root.name
    return Tree(
        ("en/validation",),
        {
            f"{name}/validation/0": Heard(
                decoded(files[0]), {"asr": "one"}, "dev", "en", f"{name}/7"
            ),
            f"{name}/validation/1": Heard(outside, {"asr": "two"}, "dev", "en", f"{name}/8"),
            f"{name}/validation/2": Heard(decoded(files[1]), {"asr": "three"}, "dev", "en"),
        },
        {f"{name}/validation/3": "missing_file"},
    )
