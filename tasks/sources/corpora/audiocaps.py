"""AudioCaps: captions of ten seconds of YouTube videos (Kim et al., 2019)."""

from collections.abc import Iterator

from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows, read_table

SECONDS = 10
"""Of AudioSet's segments."""


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    def row(line: dict[str, str]) -> Iterator[Row]:
        begin = float(line["start_time"]) if line["start_time"].isdecimal() else -1.0
        yield {
            "id": line["audiocap_id"],
            "audio": files.location(f"audio/{line['youtube_id']}.wav"),
            # What is no number fails the rule of the field, and the row is rejected.
            "begin_seconds": begin,
            "end_seconds": begin + SECONDS,
            "targets": {"caption": line["caption"]},
            "kind": "sound",
            # Several captions are of one recording.
            "phrase": line["youtube_id"],
        }

    columns = ("audiocap_id", "youtube_id", "start_time", "caption")
    return map_rows(read_table(files, f"{split}.csv", columns), row)


CORPUS = Corpus(
    name="audiocaps",
    title="AudioCaps",
    license="MIT (captions); each video has its own",
    homepage="https://audiocaps.github.io",
    tasks=("caption",),
    languages=(),
    splits={"train": "train", "val": "dev", "test": "test"},
    layout="{train,val,test}.csv (audiocap_id, youtube_id, start_time, caption); the sound is not "
    "published: audio/YOUTUBE_ID.wav is the whole soundtrack of a video, of which ten seconds from "
    "start_time on are packed. Each caption is a row",
    rows=_rows,
)
