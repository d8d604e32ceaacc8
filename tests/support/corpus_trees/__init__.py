"""Tiny trees with the true layouts of the corpora, made of real recordings.

Each builder writes a corpus below a folder and tells what should come of every record.
"""

from collections.abc import Callable
from pathlib import Path

from tests.support.corpus_trees.captioned import audiocaps, clotho, musiccaps
from tests.support.corpus_trees.containers import kaldi, saved_dataset, shar, webdataset
from tests.support.corpus_trees.labelled import air_bench, esc50, fsdd, meld, vocalsound
from tests.support.corpus_trees.transcribed import (
    aishell2,
    common_voice,
    common_voice_en,
    common_voice_fr,
    common_voice_zh_cn,
    covost2,
    fleurs,
    librispeech,
    speech_folders,
)
from tests.support.corpus_trees.tree import Tree

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
