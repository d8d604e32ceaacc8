"""Lhotse Shar: cuts in JSONL, their recordings in tars beside them, shard by shard."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

from data_contracts.languages import LANGUAGES
from data_contracts.records import Rejected
from tasks.corpora.corpus import Corpus, Row, by_language
from tasks.corpora.files import CorpusError, CorpusFiles, TarMember


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    language, folder = split.split("/")
    for key in files.names(folder):
        name = key.rsplit("/", 1)[-1]
        if name.startswith("cuts.") and name.endswith(".jsonl.gz"):
            number = name.removeprefix("cuts.").removesuffix(".jsonl.gz")
            tar = f"{folder}/recording.{number}.tar"
            # Of each cut the tar has CUT.flac and CUT.json, or CUT.nodata and CUT.nometa.
            found = {
                member.name.rpartition(".")[0]: member
                for member in files.tar_members(tar)
                if isinstance(member, TarMember)
                and not member.name.endswith((".json", ".nodata", ".nometa"))
            }
            for cut in _cuts(files, key):
                member = found.get(str(cut.get("id")))
                if member is None:
                    detail = f"{tar} has no recording of it"
                    yield Rejected(id=str(cut.get("id")), reason="missing_file", detail=detail)
                    continue
                row: Row = {"id": f"{folder}/{cut['id']}", "audio": files.place(tar)}
                row |= {"begin_byte": member.begin_byte, "num_bytes": member.num_bytes}
                row |= {"language": language, "source": files.name, "license": "unknown"}
                spoken = cut.get("supervisions") or []
                row["targets"] = {"asr": " ".join(str(s.get("text") or "") for s in spoken)}
                if speaker := next((s["speaker"] for s in spoken if s.get("speaker")), None):
                    row["speaker"] = str(speaker)
                yield row


def _cuts(files: CorpusFiles, key: str) -> Iterator[dict[str, Any]]:
    """The cuts of a shard, in time's order of their supervisions; their audio begins at 0."""
    with files.open(key) as packed, gzip.open(packed, "rb") as lines:
        try:
            while line := lines.readline(1 << 20):
                cut = json.loads(line)
                cut["supervisions"] = sorted(
                    cut.get("supervisions") or [], key=lambda spoken: float(spoken["start"])
                )
                yield cut
        except (OSError, EOFError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise CorpusError(
                f"{files.place(key)} is no list of cuts: {error}. Write the Shar again."
            ) from error


CORPUS = Corpus(
    name="shar",
    title="Lhotse Shar",
    license="that of the corpus",
    homepage="https://lhotse.readthedocs.io/en/latest/datasets.html",
    tasks=("asr",),
    languages=tuple(LANGUAGES),
    splits=by_language(LANGUAGES, {"train": "train", "dev": "dev", "test": "test"}),
    layout="SPLIT/cuts.NNNNNN.jsonl.gz (id, supervisions with start, text, speaker) and "
    "SPLIT/recording.NNNNNN.tar, not compressed, with ID.flac (or wav, mp3, opus) and ID.json",
    rows=_rows,
)
