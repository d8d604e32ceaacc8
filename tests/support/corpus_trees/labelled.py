"""Trees of recordings with a label or an answer to choose."""

import json
from pathlib import Path

import numpy as np

from tests.support.corpus_trees.files import recordings, sound, table, text, video
from tests.support.corpus_trees.tree import Heard, Tree


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
