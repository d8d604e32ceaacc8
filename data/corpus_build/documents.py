"""What accompanies the audio: notice, licence files and the tables of the README."""

import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from corpus_build.packages import Source, copyright_of, version_of

Row = dict[str, Any]

SPLITS = ("train", "dev", "test")
BY_VOICE = ("digits", "lid", "voice_chat")
COMMON_LICENSES = {"GPL-2.0.txt": "GPL-2", "GPL-3.0.txt": "GPL-3"}
LONGEST_LICENSE = 2_000
BEGIN, END = "<!-- counts:begin -->", "<!-- counts:end -->"

NOTICE_HEAD = """\
# Notice: where the recordings come from

Written by `build_corpus.py`. The licence of this repository's code does not cover the files in
`audio/`: each recording keeps the licence of its source, named in the field `license` of its line
in `manifest.jsonl`. The licence files that Debian ships are in `licenses/`, shortened to the parts
that apply where they are long.

Changed in every recording: mixed down to one channel, resampled to 16 kHz, silence cut at both
ends, cut after 6 seconds, levelled, coded as Opus. Synthetic speech and instrument notes were
rendered for this corpus with the named voices and sound fonts; they carry the licence of the
voice or font. No two recordings are mixed.
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def write_notice(rows: Sequence[Row], sources: dict[str, Source], data: Path, work: Path) -> None:
    """NOTICE.md: one section a source."""
    sections = [NOTICE_HEAD]
    for source in sources.values():
        own = [row for row in rows if row["source"] == source.name]
        packages = ", ".join(f"{name} {version_of(name, work)}" for name in source.packages)
        licenses = Counter(row["license"] for row in own)
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(licenses.items()))
        sections.append(
            f"## {source.name}\n\n"
            f"- content: {source.content}\n"
            f"- Debian packages: {packages}\n"
            f"- licence (recordings): {listed}\n"
            f"- attribution: {source.attribution}\n"
            f"- licence file: `licenses/{source.name}.txt`\n"
        )
    (data / "NOTICE.md").write_text("\n".join(sections), encoding="utf-8")


def _shortened(text: str, kept: tuple[str, ...]) -> str:
    """The stanzas of a machine-readable copyright file that speak about the kept files.

    Licence texts longer than that are left out: their identifiers name well-known licences.
    """
    stanzas = [stanza.strip("\n") for stanza in re.split(r"\n\s*\n", text)]
    chosen = [stanzas[0]]
    for stanza in stanzas[1:]:
        files = re.match(r"Files:((?:.|\n)*?)^\w", stanza, re.MULTILINE)
        names = files[1].split() if files else []
        is_short_license = stanza.startswith("License:") and len(stanza) < LONGEST_LICENSE
        if is_short_license or any(fnmatch(name, rule) for name in names for rule in kept):
            chosen.append(stanza)
    return "\n\n".join(chosen) + "\n"


def write_licenses(sources: dict[str, Source], data: Path, work: Path) -> None:
    """One licence file a source, and the common licences that they point to."""
    folder = data / "licenses"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for source in sources.values():
        texts = dict.fromkeys(copyright_of(package, work) for package in source.packages)
        if source.kept_stanzas:
            texts = dict.fromkeys(_shortened(text, source.kept_stanzas) for text in texts)
        joined = ("\n" + "-" * 80 + "\n\n").join(texts)
        (folder / f"{source.name}.txt").write_text(joined, encoding="utf-8")
    for name, common in COMMON_LICENSES.items():
        shutil.copyfile(Path("/usr/share/common-licenses") / common, folder / name)


def counts(rows: Sequence[Row], data: Path) -> str:
    """Tables of recordings, minutes and speakers, as Markdown."""
    by_task: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    voices: dict[tuple[str, str], set[str]] = defaultdict(set)
    languages: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        for task, answer in row["targets"].items():
            by_task[task][row["split"]] += 1
            seconds[task] += row["seconds"]
            if task in BY_VOICE:
                voices[task, row["split"]].add(row["speaker"])
            if task == "lid":
                languages[answer][row["split"]] += 1
    kinds = Counter(row["kind"] for row in rows)
    size = sum(path.stat().st_size for path in (data / "audio").rglob("*.opus"))
    total = sum(row["seconds"] for row in rows)
    return "\n\n".join(
        [
            f"{len(rows)} recordings, {total / 60:.1f} minutes, "
            f"{size / 1e6:.1f} MB of Opus: "
            + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            + ".",
            _table(
                ["task", *SPLITS, "minutes"],
                [
                    [task, *(by_task[task][split] for split in SPLITS), f"{seconds[task] / 60:.1f}"]
                    for task in sorted(by_task)
                ],
            ),
            "Speakers of the tasks that are split by voice:",
            _table(
                ["task", *SPLITS],
                [[task, *(len(voices[task, split]) for split in SPLITS)] for task in BY_VOICE],
            ),
            "Recordings for language identification:",
            _table(
                ["language", *SPLITS],
                [
                    [language, *(languages[language][split] for split in SPLITS)]
                    for language in sorted(languages)
                ],
            ),
        ]
    )


def write_counts(text: str, data: Path) -> None:
    """Put the tables between the two markers of the README."""
    path = data / "README.md"
    readme = path.read_text(encoding="utf-8")
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise ValueError(
            f"{path}: must hold {BEGIN} and {END} once each, as the counts go between them. "
            "Restore the two lines."
        )
    head, rest = readme.split(BEGIN)
    tail = rest.split(END)[1]
    path.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")
