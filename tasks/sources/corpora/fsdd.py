"""Free Spoken Digit Dataset: ten English digits, fifty times each, of six people."""

from collections.abc import Iterator

from tasks.sources.corpus import Corpus, Row
from tasks.sources.corpus_files import CorpusFiles


def _rows(files: CorpusFiles, split: str) -> Iterator[Row]:
    for key in files.names("recordings"):
        stem, _, suffix = key.rsplit("/", 1)[-1].rpartition(".")
        digit, _, rest = stem.partition("_")
        speaker = rest.partition("_")[0]
        if speaker == split and suffix == "wav":
            yield {
                "id": stem,
                "audio": files.location(key),
                "targets": {"digits": digit if digit in tuple("0123456789") else ""},
                "language": "en",
                "speaker": speaker,
                "kind": "digit",
            }


CORPUS = Corpus(
    name="fsdd",
    title="Free Spoken Digit Dataset",
    license="CC-BY-SA-4.0",
    homepage="https://github.com/Jakobovski/free-spoken-digit-dataset",
    tasks=("digits",),
    languages=("en",),
    # Its own test set has the voices of its training set; here a split is a person.
    splits={
        "jackson": "train",
        "nicolas": "train",
        "theo": "train",
        "yweweler": "train",
        "lucas": "dev",
        "george": "test",
    },
    layout="recordings/DIGIT_SPEAKER_NUMBER.wav; a split is a speaker",
    rows=_rows,
)
