"""Texts with times beside a recording: Praat's TextGrid, SubRip, Audacity's labels.

Messages of errors are part of a source's digest (`manifest.source_digest`): they stay as they are.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from tasks.recordings.segments import Segment

_SRT_TIMES = re.compile(
    r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})\s*-->\s*(\d+):(\d\d):(\d\d)[,.](\d{1,3})"
)
_LABEL = re.compile(r"(\d+(?:\.\d+)?)\t(\d+(?:\.\d+)?)\t(.*)")
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<![\w.])(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w.\]])')
_TIERS = ("utteranc", "sentence", "phrase", "transcri", "text", "word")
"""What the name of a tier with the spoken words has in it; the first that occurs counts."""


def text_grid_segments(data: bytes) -> list[Segment]:
    """Read the intervals of the tier of words or sentences of a TextGrid, in long or short form.

    Raises:
        ValueError: it is no TextGrid, or has several tiers of unknown names.
    """
    tokens = _tokens(_decoded(data))
    if list(islice(tokens, 2)) != ["ooTextFile", "TextGrid"]:
        raise ValueError("it is no TextGrid: it does not begin with ooTextFile, TextGrid")
    _, _, count = _take(tokens, 3)
    tiers = [_tier(tokens) for _ in range(int(count))]
    spoken = [(name, segments) for kind, name, segments in tiers if kind == "IntervalTier"]
    for words in _TIERS:
        if named := [segments for name, segments in spoken if words in name.lower()]:
            return [segment for segments in named for segment in segments]
    if len(spoken) != 1:
        names = ", ".join(name for name, _ in spoken)
        raise ValueError(
            f"the TextGrid has the interval tiers {names or 'none'}; name the one of the spoken "
            "words `words`"
        )
    return spoken[0][1]


def _tier(tokens: Iterator[str]) -> tuple[str, str, list[Segment]]:
    kind, name, _, _, count = _take(tokens, 5)
    segments = []
    for _ in range(int(count)):
        if kind != "IntervalTier":
            _take(tokens, 2)  # a point and its mark
            continue
        *times, text = _take(tokens, 3)
        begin, end = map(float, times)
        if text.strip() and end > begin >= 0:
            segments.append(Segment(begin_seconds=begin, end_seconds=end, text=text.strip()))
    return kind, name, segments


def _take(tokens: Iterator[str], count: int) -> list[str]:
    taken = list(islice(tokens, count))
    if len(taken) < count:
        raise ValueError("the TextGrid ends within a tier. Save it again")
    return taken


def _tokens(text: str) -> Iterator[str]:
    """Texts and numbers of a TextGrid, which are all that its short form has."""
    for match in _TOKEN.finditer(text):
        yield match[1].replace('""', '"') if match[1] is not None else match[2]


def srt_segments(data: bytes) -> list[Segment]:
    """Read the subtitles of an SRT file.

    Raises:
        ValueError: it has none.
    """
    segments = []
    for block in re.split(r"\n[ \t]*\n", _decoded(data).replace("\r\n", "\n")):
        lines = block.strip().split("\n")
        times = next((i for i, line in enumerate(lines) if _SRT_TIMES.match(line)), None)
        if times is None:
            continue
        match = _SRT_TIMES.match(lines[times])
        begin, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])  # type: ignore[union-attr]
        text = re.sub(r"</?[a-z][^>]*>|\{\\[^}]*\}", "", " ".join(lines[times + 1 :])).strip()
        if text and end > begin:
            segments.append(Segment(begin_seconds=begin, end_seconds=end, text=text))
    if not segments:
        raise ValueError(
            "the SRT file has no subtitle: number, HH:MM:SS,mmm --> HH:MM:SS,mmm, text"
        )
    return segments


def labels_of(text: str) -> list[Segment]:
    """Read Audacity's labels, start TAB end TAB text; none where a line is something else.

    A line that begins with a backslash holds the frequencies of the one before.
    """
    segments = []
    for line in text.splitlines():
        if line.startswith("\\") or not line.strip():
            continue
        match = _LABEL.fullmatch(line)
        if match is None:
            return []
        begin, end = float(match[1]), float(match[2])
        if match[3].strip() and end > begin:
            segments.append(Segment(begin_seconds=begin, end_seconds=end, text=match[3].strip()))
    return segments


def _seconds(parts: tuple[str, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the file of texts is neither UTF-8 nor UTF-16: {error}") from error


TIMED: Mapping[str, Callable[[bytes], list[Segment]]] = {
    ".TextGrid": text_grid_segments,
    ".srt": srt_segments,
}
"""By the end of the file's name."""
