"""Texts in two splits, and texts that are not of the language that they claim."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from data_contracts.hygiene import Finding
from data_contracts.records import PackedClip, Task
from tasks.hygiene.language import judge, wrong_script
from tasks.hygiene.pairs import SPLIT_ORDER
from tasks.hygiene.text import normalise, similar_texts

_SPELLED: tuple[Task, ...] = ("asr", "s2tt")
"""Targets that are the sentence itself. The answer of a voice chat is not: its question is the
transcript, or the phrase of the row."""
Key = tuple[str, str | None, str]
"""Task, language of the text, normalised text."""


def shared_texts(
    rows: Sequence[PackedClip], held_out: Collection[Task], least: float
) -> list[Finding]:
    """Sentences of recorded speech that are in two splits, equal or `least` alike."""
    rows_of: dict[Key, list[PackedClip]] = defaultdict(list)
    for row in rows:
        for key in _held_out_texts(row, held_out):
            rows_of[key].append(row)
    leaks = [found for key, sharing in rows_of.items() for found in _equal(key, sharing)]
    return leaks + _alike(rows_of, least)


def strange_languages(rows: Sequence[PackedClip]) -> tuple[list[Finding], str]:
    """Transcripts in another script or language than their row says, and how well that is known."""
    spoken = [row for row in rows if row.language and "asr" in row.targets]
    texts = [normalise(row.targets["asr"]) for row in spoken]
    findings = [
        Finding(
            kind="wrong_script",
            clip=row.id,
            detail=f"most letters of {text!r} are {script.lower()}, the language is {row.language}",
            value=1.0,
        )
        for row, text in zip(spoken, texts, strict=True)
        if (script := wrong_script(text, row.language))
    ]
    judgement = judge(
        texts, [row.language or "" for row in spoken], [row.split == "train" for row in spoken]
    )
    findings += [
        Finding(
            kind="other_language",
            clip=spoken[number].id,
            detail=f"{texts[number]!r} looks like {language}, the language is "
            f"{spoken[number].language}; {margin:.2f} nats a trigram",
            value=round(margin, 3),
        )
        for number, (language, margin) in judgement.strange.items()
    ]
    share = f"{judgement.agreed / judgement.judged:.1%}" if judgement.judged else "none"
    return findings, (
        f"character trigrams of {', '.join(judgement.languages) or 'no language'}: of "
        f"{judgement.judged} transcripts of at least 20 letters {share} were put into the language "
        "of their row"
    )


def _held_out_texts(row: PackedClip, held_out: Collection[Task]) -> Iterator[Key]:
    if row.kind != "speech":
        return  # digits, questions and commands repeat theirs: what is held out is the voice
    for task in _SPELLED:
        if task in held_out and (text := normalise(row.targets.get(task, ""))):
            yield task, row.language if task == "asr" else "en", text
    if "voice_chat" in held_out and "voice_chat" in row.targets and (text := _question(row)):
        yield "voice_chat", row.language, text


def _question(row: PackedClip) -> str:
    return normalise(row.targets.get("asr") or row.phrase or "")


def _equal(key: Key, sharing: Sequence[PackedClip]) -> Iterator[Finding]:
    """One finding for every clip with the text that is nearer to training than the farthest."""
    task, _, text = key
    far = _farthest(sharing)
    for row in sharing:
        if SPLIT_ORDER[row.split] < SPLIT_ORDER[far.split]:
            yield Finding(
                kind="text_leak",
                clip=row.id,
                other=far.id,
                detail=f"{task} text {text!r} as {far.id!r}: {row.split} and {far.split}",
                value=1.0,
            )


def _alike(rows_of: Mapping[Key, Sequence[PackedClip]], least: float) -> list[Finding]:
    """Pairs of texts of one task and language that are in different splits and nearly equal."""
    findings = []
    groups = sorted({key[:2] for key in rows_of}, key=str)
    for group in groups:
        keys = sorted(key for key in rows_of if key[:2] == group)
        for first, second, value in similar_texts([text for _, _, text in keys], least):
            ends = sorted(
                (rows_of[keys[first]][0], _farthest(rows_of[keys[second]])),
                key=lambda row: SPLIT_ORDER[row.split],
            )
            near, far = ends
            if near.split != far.split:
                findings.append(
                    Finding(
                        kind="similar_text",
                        clip=near.id,
                        other=far.id,
                        detail=f"{group[0]} texts {keys[first][2]!r} and {keys[second][2]!r} are "
                        f"{value:.0%} alike: {near.split} and {far.split}",
                        value=round(value, 4),
                    )
                )
    return findings


def _farthest(sharing: Sequence[PackedClip]) -> PackedClip:
    return max(sharing, key=lambda row: SPLIT_ORDER[row.split])
