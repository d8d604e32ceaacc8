"""Lhotse Shar: cuts in JSONL, their recordings in tars beside them, shard by shard."""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

from data_contracts.languages import LANGUAGES
from data_contracts.records import Rejected
from infra.retry import error_text
from model.audio import MAX_SECONDS
from tasks.recordings.segments import OVERSHOOT_SECONDS, Segment, joined
from tasks.sources.corpus import Corpus, Row, by_language
from tasks.sources.corpus_files import CorpusError, CorpusFiles
from tasks.sources.tables import numbered_lines
from tasks.sources.tars import TarMember, open_tar

_MAX_CUT_BYTES = 1 << 20
"""Longest line of a cut; alignments make it longer than other lines."""


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    language, folder = split.split("/")
    for key in files.names(folder):
        first, _, rest = key.removeprefix(f"{folder}/").partition(".")
        number, _, kind = rest.partition(".")
        if first == "cuts" and kind in ("jsonl", "jsonl.gz"):
            tar = f"{folder}/recording.{number}.tar"
            recordings = _recordings(files, tar)
            for line_number, line in _lines(files, key):
                if isinstance(line, Rejected):
                    yield line
                    continue
                try:
                    cut_id, rows = _rows_of(json.loads(line))
                except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
                    detail = f"it is no cut: {error_text(error)}"
                    row_id = f"{key} line {line_number}"
                    yield Rejected(id=row_id, reason="invalid_row", detail=detail)
                    continue
                # Of two cuts of one id, only one has a recording.
                member = recordings.pop(cut_id, None)
                if member is None:
                    detail = f"{tar} has no recording of it"
                    row_id = f"{folder}/{cut_id}"
                    yield Rejected(id=row_id, reason="missing_file", detail=detail)
                    continue
                for row in rows:
                    row |= {"audio": files.location(tar), "language": language}
                    row |= {"begin_byte": member.begin_byte, "num_bytes": member.num_bytes}
                    yield row | {"id": f"{folder}/{row['id']}"}


def _recordings(files: CorpusFiles, key: str) -> dict[str, TarMember]:
    """Recordings of a tar by cut; a cut has CUT.flac and CUT.json, or CUT.nodata and CUT.nometa."""
    with open_tar(files, key) as tar:
        return {
            member.name.rpartition(".")[0]: member
            for member in tar.members()
            if isinstance(member, TarMember)
            and not member.name.endswith((".json", ".nodata", ".nometa"))
        }


def _lines(files: CorpusFiles, key: str) -> Iterator[tuple[int, str | Rejected]]:
    """Read the lines of a shard of cuts with their numbers."""
    with files.open(key) as packed:
        stream = gzip.GzipFile(fileobj=packed) if key.endswith(".gz") else packed
        try:
            yield from numbered_lines(stream, key, max_bytes=_MAX_CUT_BYTES)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise CorpusError(
                f"{files.location(key)} is no list of cuts: {error}. Write the Shar again."
            ) from error


def _rows_of(cut: dict[str, Any]) -> tuple[str, list[Row]]:
    """Return the id of a cut and its rows, several if it is longer than the encoder's window. Its
    audio begins at 0.

    Raises:
        ValueError: something is said outside of the cut; other errors where it is no cut at all.
    """
    cut_id, seconds = cut["id"], float(cut["duration"])
    if not isinstance(cut_id, str):
        raise TypeError(f"its id {cut_id!r:.50} is no text")
    supervisions = sorted(cut.get("supervisions") or [], key=lambda one: float(one["start"]))
    shared: Row = {}
    if speaker := next((one["speaker"] for one in supervisions if one.get("speaker")), None):
        shared["speaker"] = str(speaker)
    segments = [_segment(supervision, seconds) for supervision in supervisions]
    if not any(segment.text.strip() for segment in segments):
        raise ValueError("none of its supervisions has a text")
    if seconds > MAX_SECONDS:
        return cut_id, [
            {
                **shared,
                "id": f"{cut_id}/{part.name}",
                "targets": {"asr": part.text},
                "begin_seconds": part.begin_seconds,
                "end_seconds": part.end_seconds,
            }
            for part in joined(segments)
        ]
    text = " ".join(segment.text.strip() for segment in segments if segment.text.strip())
    return cut_id, [{**shared, "id": cut_id, "targets": {"asr": text}, "seconds": seconds}]


def _segment(supervision: dict[str, Any], seconds: float) -> Segment:
    """Segment of a supervision in a cut of `seconds`, which may begin or end within a sentence."""
    begin = float(supervision["start"])
    end = begin + float(supervision["duration"])
    if begin < -OVERSHOOT_SECONDS or end > seconds + OVERSHOOT_SECONDS:
        raise ValueError(
            f"its supervision from {begin:g} to {end:g} s reaches out of its {seconds:g} s, so "
            "nobody knows how much of the text is heard. Cut at the supervisions"
        )
    text = str(supervision.get("text") or "")
    return Segment(begin_seconds=max(begin, 0.0), end_seconds=min(end, seconds), text=text)


CORPUS = Corpus(
    name="shar",
    title="Lhotse Shar",
    license="that of the corpus",
    homepage="https://lhotse.readthedocs.io/en/latest/datasets.html",
    tasks=("asr",),
    languages=tuple(LANGUAGES),
    splits=by_language(LANGUAGES, {"train": "train", "dev": "dev", "test": "test"}),
    layout="SPLIT/cuts.NNNNNN.jsonl.gz or .jsonl (id, duration, and supervisions with start, "
    "duration, text, speaker) and SPLIT/recording.NNNNNN.tar, not compressed, with ID.flac (or "
    "wav, mp3, opus) and ID.json",
    rows=_rows,
    is_form=True,
)
