"""WebDataset tars of transcribed speech."""

from collections.abc import Iterator
from itertools import groupby

from data_contracts.languages import LANGUAGES
from data_contracts.records import Rejected
from tasks.corpora.corpus import Corpus, Row, by_language
from tasks.corpora.files import CorpusFiles, TarMember

AUDIO = ("flac", "wav", "mp3", "ogg", "opus", "m4a")


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    language, folder = split.split("/")
    for key in files.names(folder):
        if key.endswith(".tar"):
            for name, members in groupby(files.tar_members(key), _sample):
                row: Row = {"id": f"{folder}/{name}", "audio": files.place(key)}
                row |= {"language": language, "source": files.name, "license": "unknown"}
                refused = False
                for member in members:
                    if isinstance(member, Rejected):
                        refused = True
                        yield member
                        continue
                    extension = _key(member.name)[1]
                    if extension in AUDIO:
                        row |= {"begin_byte": member.begin_byte, "num_bytes": member.num_bytes}
                    elif extension == "txt":
                        row["targets"] = {"asr": files.bytes_of(key, member).decode().strip()}
                if "num_bytes" in row:
                    yield row
                elif not refused:
                    detail = f"its sample in {key} has no file named *.{', *.'.join(AUDIO)}"
                    yield Rejected(id=row["id"], reason="missing_file", detail=detail)


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
    "KEY.txt with its transcript, behind one another",
    rows=_rows,
)
