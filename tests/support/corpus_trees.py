"""Tiny trees with the true layouts of the corpora, made of real recordings.

Each builder writes a corpus below a folder and tells what should come of every record.
"""

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import soundfile

DATA = Path(__file__).parents[2] / "data/audio"
RATE = 16_000


@dataclass(frozen=True)
class Heard:
    """What should be packed of one recording."""

    samples: np.ndarray
    """float32, as soundfile decodes the file that was written."""
    targets: dict[str, str] = field(default_factory=dict)
    split: str = "train"
    language: str | None = None
    speaker: str | None = None
    others: dict[str, Any] = field(default_factory=dict)
    """More fields of the packed row."""


@dataclass(frozen=True)
class Tree:
    """A corpus that was written, with what should come of it."""

    splits: tuple[str, ...]
    heard: dict[str, Heard]
    """By the row's id."""
    rejected: dict[str, str] = field(default_factory=dict)
    """Id -> reason."""
    exact: bool = True
    """False where the files are lossy in a way that two decoders round differently."""


@cache
def recordings() -> tuple[np.ndarray, ...]:
    """Ten real recordings of speech, int16 at 16 kHz, all different."""
    paths = sorted(DATA.glob("tuxpaint*/**/*.opus"))[:10]
    found = tuple(soundfile.read(path, dtype="int16") for path in paths)
    assert all(rate == RATE for _, rate in found)
    return tuple(samples for samples, _ in found)


def as_file(samples: np.ndarray, container: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format=container)
    return buffer.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(soundfile.read(io.BytesIO(data), dtype="float32")[0])


def sound(number: int, path: Path) -> np.ndarray:
    """Write a recording in the format of the path's suffix; what soundfile decodes of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = as_file(recordings()[number], path.suffix[1:].upper())
    path.write_bytes(data)
    return decoded(data)


def text(path: Path, content: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)


def table(path: Path, rows: Iterable[Sequence[object]], encoding: str = "utf-8") -> None:
    """A CSV file as pandas and csv write it."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    text(path, buffer.getvalue(), encoding)


def tsv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """A TSV file without any quoting."""
    text(path, "".join("\t".join(map(str, row)) + "\n" for row in rows))


def librispeech(root: Path) -> Tree:
    text(
        root / "SPEAKERS.TXT",
        "; Some pipe(|) separated metadata about all LibriSpeech speakers\n"
        ";ID  |SEX| SUBSET           |MINUTES| NAME\n"
        "103  | F | train-clean-100  | 25.03 | Karen Savage\n"
        "1272 | M | dev-clean        |  8.02 | A | B\n"
        "61   | M | train-other-500  |  8.02 | Paul-Gabriel Wiener\n",
    )
    place = root / "train-clean-100/103/1240"
    text(
        place / "103-1240.trans.txt",
        "103-1240-0000 CHAPTER ONE\n103-1240-0001 THAT HAD ITS SOURCE\n103-1240-0002 GONE\n",
    )
    first = sound(0, place / "103-1240-0000.flac")
    second = sound(1, place / "103-1240-0001.flac")
    sound(2, place / "103-1240-0009.flac")
    text(root / "train-clean-100/61/7/61-7.trans.txt", "61-7-0000 A LEAK\n")
    text(root / "dev-clean/1272/128104/1272-128104.trans.txt", "1272-128104-0000 MISTER QUILTER\n")
    third = sound(3, root / "dev-clean/1272/128104/1272-128104-0000.flac")
    return Tree(
        ("train-clean-100", "dev-clean"),
        {
            "librispeech/103-1240-0000": Heard(
                first, {"asr": "CHAPTER ONE"}, "train", "en", "librispeech/103"
            ),
            "librispeech/103-1240-0001": Heard(
                second, {"asr": "THAT HAD ITS SOURCE"}, "train", "en", "librispeech/103"
            ),
            "librispeech/1272-128104-0000": Heard(
                third, {"asr": "MISTER QUILTER"}, "dev", "en", "librispeech/1272"
            ),
        },
        {
            "librispeech/103-1240-0002": "missing_file",
            "librispeech/train-clean-100/103/1240/103-1240-0009": "invalid_row",
            "librispeech/61-7-0000": "invalid_row",
        },
    )


def speech_folders(root: Path) -> Tree:
    text(root / "test/9/1/9-1.trans.txt", "9-1-1 guten Tag\n")
    samples = sound(0, root / "test/9/1/9-1-1.wav")
    name = root.name
    return Tree(
        ("de/test",),
        {f"{name}/9-1-1": Heard(samples, {"asr": "guten Tag"}, "test", "de", f"{name}/9")},
    )


CV_HEADER = (
    "client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents",
    "variant", "locale", "segment",
)  # fmt: skip


def _cv(speaker: str, path: str, sentence: str, locale: str) -> tuple[str, ...]:
    return (speaker, path, sentence, "2", "0", "", "", "", "", locale, "")


def common_voice(
    root: Path, locale: str = "yue", language: str = "yue", said: str = '佢話"好'
) -> Tree:
    def line(speaker: str, number: int, sentence: str) -> tuple[str, ...]:
        return _cv(speaker, f"common_voice_{locale}_{number}.mp3", sentence, locale)

    lines = {
        "train": [line("a", 1, said)],
        "dev": [line("b", 2, "早晨")],
        "test": [line("c", 3, "多謝晒")],
    }
    validated = [row for part in lines.values() for row in part] + [
        line("a", 4, "落雨喇"),
        line("b", 5, "a speaker of dev"),
        line("d", 6, "多謝晒"),
    ]
    for part, rows in {**lines, "validated": validated}.items():
        tsv(root / f"{locale}/{part}.tsv", [CV_HEADER, *rows])
    heard = {}
    for number, sentence, split, speaker in (
        (1, said, "train", "a"),
        (3, "多謝晒", "test", "c"),
        (4, "落雨喇", "train", "a"),
    ):
        samples = sound(number, root / f"{locale}/clips/common_voice_{locale}_{number}.mp3")
        heard[f"common_voice/{locale}/common_voice_{locale}_{number}"] = Heard(
            samples, {"asr": sentence}, split, language, f"common_voice/{speaker}"
        )
    return Tree((f"{locale}/train", f"{locale}/test", f"{locale}/validated"), heard)


def aishell2(root: Path) -> Tree:
    text(root / "iOS/data/wav.scp", "IC0001W0001\twav/C0001/IC0001W0001.wav\n")
    text(root / "iOS/data/trans.txt", "IC0001W0001\t厨房用品\n")
    train = sound(0, root / "iOS/data/wav/C0001/IC0001W0001.wav")
    text(
        root / "Mic/test/wav.scp",
        "IT0011W0001\twav/T0011/IT0011W0001.wav\nIT0011W0002\twav/T0011/IT0011W0002.wav\n",
    )
    text(root / "Mic/test/trans.txt", "IT0011W0001\t换一首歌\n")
    test = sound(1, root / "Mic/test/wav/T0011/IT0011W0001.wav")
    return Tree(
        ("train", "Mic/test"),
        {
            "aishell2/iOS/data/IC0001W0001": Heard(
                train, {"asr": "厨房用品"}, "train", "zh", "aishell2/C0001"
            ),
            "aishell2/Mic/test/IT0011W0001": Heard(
                test, {"asr": "换一首歌"}, "test", "zh", "aishell2/T0011"
            ),
        },
        {"aishell2/Mic/test/IT0011W0002": "invalid_row"},
    )


def fleurs(root: Path) -> Tree:
    heard = {}
    for name, number, said, language, answer in (
        ("cmn_hans_cn", 0, "“你好”，他说。", "zh", "Chinese"),
        ("fr_fr", 1, 'Il dit "bonjour".', "fr", "French"),
    ):
        file_name = f"1000{number}.wav"
        plain = said.lower()
        line = (1675, file_name, said, plain, "|".join(plain) + " |", 16000, "FEMALE")
        tsv(root / name / "test.tsv", [line])
        heard[f"fleurs/{name}/1000{number}"] = Heard(
            sound(number, root / name / "audio/test" / file_name),
            {"asr": said, "lid": answer},
            "test",
            language,
            None,
            {"phrase": "fleurs/1675"},
        )
    return Tree(("cmn_hans_cn/test", "fr_fr/test"), heard)


def covost2(root: Path) -> Tree:
    header = ("path", "sentence", "translation", "client_id")
    tsv(
        root / "en/covost_v2.en_zh-CN.dev.tsv",
        [header, ("common_voice_en_1.mp3", 'He said \\"go\\".', "他说走。", "x")],
    )
    tsv(
        root / "sv-SE/covost_v2.sv-SE_en.train.tsv",
        [header, ("common_voice_sv-SE_2.mp3", "Tack.", "Thank you.", "y")],
    )
    return Tree(
        ("en_zh-CN/dev", "sv-SE_en/train"),
        {
            "covost2/en_zh-CN/common_voice_en_1": Heard(
                sound(0, root / "en/clips/common_voice_en_1.mp3"),
                {"s2tt": "他说走。"}, "dev", "en", "covost2/x", {"target_language": "zh"},
            ),
            "covost2/sv-SE_en/common_voice_sv-SE_2": Heard(
                sound(1, root / "sv-SE/clips/common_voice_sv-SE_2.mp3"),
                {"s2tt": "Thank you."}, "train", "sv", "covost2/y", {"target_language": "en"},
            ),
        },
    )  # fmt: skip


def video(samples: np.ndarray, path: Path) -> None:
    """An mp4 with a picture stream and AAC sound, as MELD's clips have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        picture.width = picture.height = 32
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        picture.pix_fmt = "yuv420p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts = number
            container.mux(picture.encode(frame))
        sound_frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        sound_frame.rate = RATE
        container.mux(stream.encode(sound_frame))
        container.mux(picture.encode() + stream.encode())


def meld(root: Path) -> Tree:
    header = (
        "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID",
        "Season", "Episode", "StartTime", "EndTime",
    )  # fmt: skip
    rest = (8, 21, "00:16:16,059", "00:16:21,731")
    table(
        root / "train_sent_emo.csv",
        [
            header,
            (1, "also I was the point person", "Chandler", "neutral", "neutral", 0, 0, *rest),
            (2, "You must\x92ve, had your hands full.", "Joey", "joy", "positive", 125, 3, *rest),
        ],
    )  # fmt: skip
    table(
        root / "test_sent_emo.csv",
        [
            header,
            (1, "Why do all", "Mark", "surprise", "positive", 0, 0, *rest),
        ],
    )
    video(recordings()[0], root / "train_splits/dia0_utt0.mp4")
    video(recordings()[1], root / "output_repeated_splits_test/dia0_utt0.mp4")
    full = [recordings()[i].astype(np.float32) / 32768 for i in (0, 1)]
    return Tree(
        ("train", "test"),
        {
            "meld/train/dia0_utt0": Heard(
                full[0], {"ser": "neutral"}, "train", "en", "meld/Chandler"
            ),
            "meld/test/dia0_utt0": Heard(full[1], {"ser": "surprise"}, "test", "en", "meld/Mark"),
        },
        {"meld/train/dia125_utt3": "missing_file"},
        exact=False,
    )


def vocalsound(root: Path) -> Tree:
    names = ("f0003_0_throatclearing.wav", "m0004_1_sniff.wav", "m0004_1_yawn.wav")
    listed = [{"wav": f"/data/sls/scratch/vs/{name}", "labels": "/m/0dl9sf8"} for name in names]
    text(root / "datafiles/te.json", json.dumps({"data": listed}))
    return Tree(
        ("test",),
        {
            "vocalsound/f0003_0_throatclearing": Heard(
                sound(0, root / "audio_16k" / names[0]),
                {"vocal": "throat clearing"}, "test", None, "vocalsound/f0003",
            ),
            "vocalsound/m0004_1_sniff": Heard(
                sound(1, root / "audio_16k" / names[1]),
                {"vocal": "sniff"}, "test", None, "vocalsound/m0004",
            ),
        },
        {"vocalsound/m0004_1_yawn": "invalid_row"},
    )  # fmt: skip


def clotho(root: Path) -> Tree:
    name = "Distorted AM Radio noise.wav"
    captions = [f"A muddled noise, of broken channel {number}" for number in range(1, 6)]
    table(
        root / "clotho_captions_evaluation.csv",
        [("file_name", *(f"caption_{n}" for n in range(1, 6))), (name, *captions)],
    )
    table(
        root / "clotho_metadata_evaluation.csv",
        [
            ("file_name", "keywords", "sound_id", "sound_link", "start_end_samples",
             "manufacturer", "license"),
            (name, "noise;radio", "346704", "https://freesound.org/people/x", "[61682, 1199514]",
             "José", "http://creativecommons.org/publicdomain/zero/1.0/"),
        ],
        "latin-1",
    )  # fmt: skip
    samples = sound(0, root / "evaluation" / name)
    others = {"license": "http://creativecommons.org/publicdomain/zero/1.0/", "kind": "sound"}
    others["phrase"] = f"clotho/{name}"
    return Tree(
        ("evaluation",),
        {
            f"clotho/evaluation/Distorted AM Radio noise/{number}": Heard(
                samples, {"caption": caption}, "test", None, None, others
            )
            for number, caption in enumerate(captions, start=1)
        },
    )


def soundtrack(path: Path, begin: float, seconds: float) -> np.ndarray:
    """A long stereo video soundtrack at 44.1 kHz; what soundfile reads of a part of it."""
    speech = np.concatenate([*recordings(), *recordings()[::-1], *recordings()])
    samples = np.stack([speech, speech // 2], axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)
    with soundfile.SoundFile(path) as opened:
        opened.seek(round(begin * RATE))
        part = opened.read(round(seconds * RATE), dtype="float32")
    return np.asarray(part.mean(axis=1, dtype=np.float32))


def audiocaps(root: Path) -> Tree:
    table(
        root / "test.csv",
        [
            ("audiocap_id", "youtube_id", "start_time", "caption"),
            (103545, "-rT1", 3, "A woman talks, nearby"),
            (103546, "-rT1", 600, "Past the end"),
            (103547, "-rT1", "soon", "No time"),
        ],
    )
    samples = soundtrack(root / "audio/-rT1.wav", 3, 10)
    assert len(samples) == 10 * RATE
    others = {"num_samples": 10 * RATE, "phrase": "audiocaps/-rT1"}
    return Tree(
        ("test",),
        {
            "audiocaps/103545": Heard(
                samples, {"caption": "A woman talks, nearby"}, "test", others=others
            )
        },
        {"audiocaps/103546": "empty", "audiocaps/103547": "invalid_row"},
    )


def musiccaps(root: Path) -> Tree:
    header = (
        "ytid", "start_s", "end_s", "audioset_positive_labels", "aspect_list", "caption",
        "author_id", "is_balanced_subset", "is_audioset_eval",
    )  # fmt: skip
    rows = [
        ("-0Gj8-vB1q4", 2, 12, "/m/01", "['low']", 'A "low" song,\nsad.', 4, "False", "True"),
        ("-0SdAVK79lg", 1, 11, "/m/0155w", "['guitar']", "A guitar.", 0, "False", "False"),
    ]  # fmt: skip
    table(root / "musiccaps-public.csv", [header, *rows])
    return Tree(
        ("train", "eval"),
        {
            "musiccaps/-0Gj8-vB1q4": Heard(
                soundtrack(root / "audio/-0Gj8-vB1q4.wav", 2, 10),
                {"caption": 'A "low" song,\nsad.'}, "test",
            ),
            "musiccaps/-0SdAVK79lg": Heard(
                soundtrack(root / "audio/-0SdAVK79lg.wav", 1, 10), {"caption": "A guitar."}, "train"
            ),
        },
    )  # fmt: skip


def esc50(root: Path) -> Tree:
    rows = [
        ("1-100032-A-0.wav", 1, 0, "dog", "True", 100032, "A"),
        ("5-103415-A-2.wav", 5, 2, "pouring_water", "False", 103415, "A"),
        ("4-1-A-1.wav", 4, 1, "rooster", "False", 1, "A"),
        ("2-2-A-0.wav", 2, 0, "dog", "False", 2, "A"),
        ("3-3-A-0.wav", 3, 0, "dog", "False", 3, "A"),
    ]
    header = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    table(root / "meta/esc50.csv", [header, *rows])
    files = [sound(number, root / "audio" / str(row[0])) for number, row in enumerate(rows)]
    return Tree(
        (),
        {
            "esc50/1-100032-A-0": Heard(
                files[0], {"sound": "dog"}, "train", others={"phrase": "esc50/100032"}
            ),
            "esc50/5-103415-A-2": Heard(files[1], {"sound": "pouring water"}, "test"),
            "esc50/4-1-A-1": Heard(files[2], {"sound": "rooster"}, "dev", others={"kind": "sound"}),
            "esc50/2-2-A-0": Heard(files[3], {"sound": "dog"}, "train"),
            "esc50/3-3-A-0": Heard(files[4], {"sound": "dog"}, "train"),
        },
    )


def fsdd(root: Path) -> Tree:
    heard = {}
    for number, (name, split) in enumerate(
        (("7_jackson_32", "train"), ("0_george_0", "test"), ("3_lucas_9", "dev"))
    ):
        samples = sound(number, root / f"recordings/{name}.wav")
        heard[f"fsdd/{name}"] = Heard(
            samples,
            {"digits": name[0]},
            split,
            "en",
            f"fsdd/{name.split('_')[1]}",
            {"kind": "digit"},
        )
    for name in ("12_jackson_0.wav", "Thumbs.db", "7_jackson_32.txt"):
        (root / "recordings" / name).write_bytes(b"no digit")
    return Tree(("jackson", "george", "lucas"), heard, {"fsdd/12_jackson_0": "invalid_row"})


def air_bench(root: Path) -> Tree:
    emotion = {
        "path": "dia0_utt1.wav", "question": "What emotion is it?", "choice_a": "joy",
        "choice_b": "fear", "choice_c": "anger", "answer_gt": "fear",
        "task_name": "Speaker_Emotion_Recontion", "dataset_name": "meld", "uniq_id": 17,
    }  # fmt: skip
    grounding = emotion | {
        "path": "a b.wav", "task_name": "Audio_Grounding", "dataset_name": "AudioGrounding",
        "choice_d": None, "answer_gt": "joy", "uniq_id": 18,
    }  # fmt: skip
    chat = {
        "path": "x.wav", "question": "Why?", "answer_gt": "Because.", "meta_info": "a dog barks",
        "task_name": "sound_QA", "dataset_name": "clotho", "uniq_id": 0,
    }  # fmt: skip
    broken = [emotion | {"uniq_id": 19, "answer_gt": "love"}, {"path": "y.wav"}]
    text(root / "Foundation/Foundation_meta.json", json.dumps([emotion, grounding, *broken]))
    text(root / "Chat/Chat_meta.json", json.dumps([chat]))
    folder = root / "Foundation/Speaker_Emotion_Recontion_meld"
    asked = (
        "Choose the most suitable answer from options A, B, C, and D to respond the question in "
        "next line, you may only choose A or B or C or D.\nWhat emotion is it?\n"
        "A. joy\nB. fear\nC. anger"
    )
    return Tree(
        ("Foundation", "Chat"),
        {
            "air_bench/Foundation/17": Heard(
                sound(0, folder / "dia0_utt1.wav"), {"choice": "B. fear"}, "test",
                others={"question": asked},
            ),
            "air_bench/Foundation/18": Heard(
                sound(1, root / "Foundation/Audio_Grounding_AudioGrounding/a b.flac"),
                {"choice": "A. joy"}, "test",
            ),
            "air_bench/Chat/0": Heard(sound(2, root / "Chat/sound_QA_clotho/x.wav"), {}, "test"),
        },
        {"air_bench/Foundation/2": "invalid_row", "air_bench/Foundation/3": "invalid_row"},
    )  # fmt: skip


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


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


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


def common_voice_en(root: Path) -> Tree:
    return common_voice(root, "en", "en", '"Go", he said.')


def common_voice_zh_cn(root: Path) -> Tree:
    return common_voice(root, "zh-CN", "zh", "“好”。")


def common_voice_fr(root: Path) -> Tree:
    return common_voice(root, "fr", "fr", "L’été, dit-il.")


LOCALES = {
    build.__name__: build for build in (common_voice_en, common_voice_zh_cn, common_voice_fr)
}
"""Common Voice in more languages."""
TREES: dict[str, Callable[[Path], Tree]] = {
    build.__name__: build
    for build in (
        air_bench, aishell2, audiocaps, clotho, common_voice, covost2, esc50, fleurs, fsdd, kaldi,
        librispeech, meld, musiccaps, saved_dataset, shar, speech_folders, vocalsound, webdataset,
    )
}  # fmt: skip
