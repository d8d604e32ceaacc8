"""WebDataset tars of transcribed speech."""

from collections.abc import Iterator
from functools import partial
from itertools import groupby

from data_contracts.languages import LANGUAGES
from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row, by_language
from tasks.sources.corpus_files import CorpusFiles
from tasks.sources.tables import map_rows
from tasks.sources.tars import CorpusTar, TarMember, open_tar

AUDIO = ("flac", "wav", "mp3", "ogg", "opus", "m4a")


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    language, folder = split.split("/")
    for key in files.names(folder):
        if key.endswith(".tar"):
            with open_tar(files, key) as tar:
                samples = _samples(tar, key.removesuffix(".tar"))
                yield from map_rows(samples, partial(_located, files.location(key), language))


def _located(audio: str, language: str, row: Row) -> Iterator[Row]:
    yield {"audio": audio, "language": language, **row}


def _samples(tar: CorpusTar, stem: str) -> Iterator[Row | Rejected]:
    """Rows of a tar; ids are the keys of its samples, prefixed with its name."""
    keys = set()
    for key, members in groupby(tar.members(), _sample):
        row_id = f"{stem}/{key}"
        recordings: list[TarMember] = []
        row: Row = {"id": row_id}
        problem = f"an earlier sample has the key {key!r} too" if key in keys else ""
        refused = False
        for member in members:
            if isinstance(member, Rejected):
                refused = True
                yield member.model_copy(update={"id": f"{stem}/{member.id}"})
                continue
            extension = _key(member.name)[1]
            if extension in AUDIO:
                recordings.append(member)
            elif extension == "txt":
                try:
                    row["targets"] = {"asr": tar.text(member)}
                except ValueError as error:
                    problem = problem or str(error)
        keys.add(key)
        if len(recordings) > 1:
            problem = problem or f"it has {len(recordings)} recordings: " + ", ".join(
                member.name for member in recordings
            )
        if problem:
            yield Rejected(id=row_id, reason="invalid_row", detail=problem)
        elif recordings:
            (member,) = recordings
            yield {**row, "begin_byte": member.begin_byte, "num_bytes": member.num_bytes}
        elif not refused:
            detail = f"it has no file named *.{', *.'.join(AUDIO)}"
            yield Rejected(id=row_id, reason="missing_file", detail=detail)


def _sample(member: TarMember | Rejected) -> str:
    return _key(member.id if isinstance(member, Rejected) else member.name)[0]


def _key(path: str) -> tuple[str, str]:
    """WebDataset's rule: a sample's key ends at the first dot of the file's name."""
    folder, slash, name = path.rpartition("/")
    stem, _, extension = name.partition(".")
    return folder + slash + stem, extension.lower()


CORPUS = Corpus(
    name="webdataset",
    title="WebDataset tars of speech",
    license="that of the corpus",
    homepage="https://github.com/webdataset/webdataset",
    tasks=("asr",),
    languages=tuple(LANGUAGES),
    splits=by_language(LANGUAGES, {"train": "train", "dev": "dev", "test": "test"}),
    layout="SPLIT/*.tar, not compressed; of each sample KEY.{flac,wav,mp3,ogg,opus,m4a} and "
    "KEY.txt with its transcript, next to one another",
    rows=_rows,
    is_form=True,
)
