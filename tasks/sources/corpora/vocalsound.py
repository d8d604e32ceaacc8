"""VocalSound: laughs, sighs, coughs and more of 3,365 people (Gong et al., 2022)."""

from collections.abc import Iterator
from typing import Any

from data_contracts.records import Rejected
from tasks.sources.corpus import Corpus, Row
from tasks.sources.corpus_files import CorpusError, CorpusFiles

_ANSWERS = {
    "laughter": "laughter",
    "sigh": "sigh",
    "cough": "cough",
    "throatclearing": "throat clearing",
    "sneeze": "sneeze",
    "sniff": "sniff",
}
_LISTS = {"train": "tr", "validation": "val", "test": "te"}


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    key = f"datafiles/{_LISTS[split]}.json"
    for number, entry in enumerate(_entries(files.json(key), files.location(key))):
        if not (isinstance(entry, dict) and isinstance(path := entry.get("wav"), str)):
            detail = f'{entry!r:.100} is not {{"wav": PATH, ...}}'
            yield Rejected(id=f"{key} {number}", reason="invalid_row", detail=detail)
            continue
        # The paths in the lists are those of the machine that wrote them; only the names count.
        name = path.rsplit("/", 1)[-1]
        stem = name.removesuffix(".wav")
        speaker, label = stem.split("_")[0], stem.rpartition("_")[2]
        yield {
            "id": stem,
            "audio": files.location(f"audio_16k/{name}"),
            "targets": {"vocal": _ANSWERS.get(label, "")},
            "speaker": speaker,
            "kind": "sound",
        }


def _entries(document: Any, path: str) -> list[Any]:
    entries = document.get("data") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise CorpusError(
            f'{path} is not {{"data": [{{"wav": PATH, ...}}, ...]}}. Unpack the corpus again.'
        )
    return entries


CORPUS = Corpus(
    name="vocalsound",
    title="VocalSound (16 kHz release)",
    license="CC-BY-SA-4.0",
    homepage="https://github.com/YuanGongND/vocalsound",
    tasks=("vocal",),
    languages=(),
    splits={"train": "train", "validation": "dev", "test": "test"},
    layout="vs_release_16k unpacked: datafiles/{tr,val,te}.json ({data: [{wav}]}) and "
    "audio_16k/SPEAKER_SESSION_LABEL.wav",
    rows=_rows,
)
