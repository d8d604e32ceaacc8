"""Any corpus of transcribed speech that is laid out as LibriSpeech is."""

from collections.abc import Iterator

from data_contracts.languages import LANGUAGES
from data_contracts.records import Rejected
from tasks.sources.corpora.librispeech import chapters
from tasks.sources.corpus import Corpus, Row, by_language
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows

_SUFFIXES = (".flac", ".wav", ".mp3", ".ogg", ".opus", ".m4a")


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    language, folder = split.split("/")
    names = files.names(folder, below=True)
    suffix = next((s for s in _SUFFIXES if any(name.endswith(s) for name in names)), ".flac")

    def located(row: Row) -> Iterator[Row]:
        yield {**row, "language": language}

    return map_rows(chapters(files, folder, suffix), located)


CORPUS = Corpus(
    name="speech_folders",
    title="folders laid out as LibriSpeech",
    license="that of the corpus",
    homepage="https://www.openslr.org/12",
    tasks=("asr",),
    languages=tuple(LANGUAGES),
    splits=by_language(LANGUAGES, {"train": "train", "dev": "dev", "test": "test"}),
    layout="SPLIT/SPEAKER/CHAPTER/*.trans.txt with a line `SPEAKER-CHAPTER-NUMBER TEXT` an "
    "utterance, and its recording beside it; all of one format: flac, wav, mp3, ogg, opus or m4a",
    rows=_rows,
    is_form=True,
)
