"""MusicCaps: musicians' descriptions of ten seconds of music (Agostinelli et al., 2023)."""

from collections.abc import Iterator

from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows, read_table


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    def row(line: dict[str, str]) -> Iterator[Row]:
        if (line["is_audioset_eval"] == "True") == (split == "eval"):
            begin, end = line["start_s"], line["end_s"]
            yield {
                "id": line["ytid"],
                "audio": files.location(f"audio/{line['ytid']}.wav"),
                "begin_seconds": float(begin) if begin.isdecimal() else -1.0,
                "end_seconds": float(end) if end.isdecimal() else -1.0,
                "targets": {"caption": line["caption"]},
                "kind": "sound",
            }

    columns = ("ytid", "start_s", "end_s", "caption", "is_audioset_eval")
    return map_rows(read_table(files, "musiccaps-public.csv", columns), row)


CORPUS = Corpus(
    name="musiccaps",
    title="MusicCaps",
    license="CC-BY-SA-4.0 (captions); each video has its own",
    homepage="https://www.kaggle.com/datasets/googleai/musiccaps",
    tasks=("caption",),
    languages=(),
    splits={"train": "train", "eval": "test"},
    layout="musiccaps-public.csv (ytid, start_s, end_s, caption, is_audioset_eval, which says the "
    "split); the sound is not published: audio/YTID.wav is the whole soundtrack of a video",
    rows=_rows,
)
