"""Trees of speech with its words or their translation."""

from pathlib import Path

from tests.support.corpus_trees.files import sound, text, tsv
from tests.support.corpus_trees.tree import Heard, Tree


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


def common_voice_en(root: Path) -> Tree:
    return common_voice(root, "en", "en", '"Go", he said.')


def common_voice_zh_cn(root: Path) -> Tree:
    return common_voice(root, "zh-CN", "zh", "“好”。")


def common_voice_fr(root: Path) -> Tree:
    return common_voice(root, "fr", "fr", "L’été, dit-il.")
