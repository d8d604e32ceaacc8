"""Trees of sounds and music with a description."""

from pathlib import Path

from tests.support.corpus_trees.files import RATE, sound, soundtrack, table
from tests.support.corpus_trees.tree import Heard, Tree


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
