"""Rebuild the embedded corpus from Debian packages.

    python data/build_corpus.py --work FOLDER

Downloads and unpacks the packages, renders synthetic speech and instrument notes, codes every
recording as 16 kHz mono Opus and writes manifest.jsonl, NOTICE.md, licenses/ and the tables of
README.md beside this file. FOLDER keeps what was downloaded and rendered for the next run.
"""

import argparse
import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from corpus_build import documents
from corpus_build.drafts import Draft
from corpus_build.encode import LONGEST, SAMPLE_RATE, encode
from corpus_build.instruments import note_drafts
from corpus_build.packages import load_sources
from corpus_build.recordings import effect_drafts, speech_drafts
from corpus_build.voices import conversation_drafts, digit_drafts

Row = dict[str, Any]

DATA = Path(__file__).resolve().parent

# A transcript much shorter or longer than the sound belongs to another version of the text.
CHARACTERS_PER_SECOND = (3.0, 24.0)
SILENT_PART_SECONDS = 0.15


def make_row(data: Path, draft: Draft) -> Row:
    """Code one recording and describe it."""
    encoded = encode(draft.origin, data / draft.audio, draft.coding)
    return {
        "id": draft.id,
        "audio": draft.audio,
        "targets": draft.targets,
        "language": draft.language,
        "speaker": draft.speaker,
        "split": draft.split,
        "phrase": draft.phrase,
        "kind": draft.kind,
        "source": draft.source,
        "license": draft.license,
        "seconds": encoded.seconds,
        "sha256": encoded.sha256,
    }


def faults(rows: Sequence[Row]) -> list[str]:
    """What keeps these rows from being a corpus: doubles, and transcripts that cannot be right."""
    found = []
    for field in ("id", "audio", "sha256"):
        holders = defaultdict(list)
        for row in rows:
            holders[row[field]].append(row["id"])
        found += [
            f"{', '.join(ids)}: same {field} {value}; each recording needs its own. Keep one."
            for value, ids in holders.items()
            if len(ids) > 1
        ]
    low, high = CHARACTERS_PER_SECOND
    for row in rows:
        text = row["targets"].get("asr")
        if not text:
            continue
        pace = len(text) / max(row["seconds"] - SILENT_PART_SECONDS, 0.01)
        if not low <= pace <= high:
            found.append(
                f"{row['id']}: {pace:.1f} characters a second; the text fits the sound from "
                f"{low} to {high}. Remove the line or correct its text."
            )
        if row["seconds"] * SAMPLE_RATE >= LONGEST:
            found.append(
                f"{row['id']}: {row['seconds']} s; speech with a transcript must stay under "
                f"{LONGEST / SAMPLE_RATE} s, where recordings are cut. Remove the line."
            )
    return found


def build(data: Path, work: Path, jobs: int) -> list[Row]:
    """Make all recordings and return the manifest's rows in the order of their ids."""
    sources = load_sources()
    drafts = [
        *speech_drafts(sources, work),
        *effect_drafts(sources, work),
        *digit_drafts(sources, work),
        *conversation_drafts(sources, work),
        *note_drafts(sources, work),
    ]
    shutil.rmtree(data / "audio", ignore_errors=True)
    with ProcessPoolExecutor(jobs) as pool:
        rows = list(pool.map(partial(make_row, data), drafts, chunksize=32))
    rows.sort(key=lambda row: str(row["id"]))
    if found := faults(rows):
        raise SystemExit("\n".join([*found, f"{len(found)} faults; no manifest was written."]))
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (data / "manifest.jsonl").write_text("".join(lines), encoding="utf-8")
    documents.write_notice(rows, sources, data, work)
    documents.write_licenses(sources, data, work)
    documents.write_counts(documents.counts(rows, data), data)
    return rows


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for downloads")
    parser.add_argument("--jobs", type=int, default=2, help="processes that code audio")
    options = parser.parse_args()
    rows = build(DATA, options.work.resolve(), options.jobs)
    print(documents.counts(rows, DATA))


if __name__ == "__main__":
    main()
