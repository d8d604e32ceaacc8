"""TextGrids, SRT files and Audacity's labels, as their programs write them."""

from pathlib import Path

import pytest

from data_contracts.records import Rejected
from tasks.recordings.segments import Segment
from tasks.sources.manifest import DataSource, iter_source
from tasks.sources.timed_texts import labels_of, srt_segments, text_grid_segments
from tests.support.recordings import sound_file, tone
from tests.support.source_rows import read_source

LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 2.5 
tiers? <exists> 
size = 3 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "phones" 
        xmin = 0 
        xmax = 2.5 
        intervals: size = 1 
        intervals [1]:
            xmin = 0 
            xmax = 2.5 
            text = "x" 
    item [2]:
        class = "TextTier" 
        name = "clicks" 
        xmin = 0 
        xmax = 2.5 
        points: size = 1 
        points [1]:
            number = 0.7 
            mark = "12" 
    item [3]:
        class = "IntervalTier" 
        name = "ann - words" 
        xmin = 0 
        xmax = 2.5 
        intervals: size = 3 
        intervals [1]:
            xmin = 0 
            xmax = 0.5 
            text = "she said" 
        intervals [2]:
            xmin = 0.5 
            xmax = 1.25 
            text = "" 
        intervals [3]:
            xmin = 1.25 
            xmax = 2.5 
            text = """no 7""" 
'''  # noqa: W291  (Praat ends its lines with a blank)
SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
2.5
<exists>
1
"IntervalTier"
"ann"
0
2.5
3
0
0.5
"she said"
0.5
1.25
""
1.25
2.5
"""no 7"""
'''
SAID = [
    Segment(begin_seconds=0, end_seconds=0.5, text="she said"),
    Segment(begin_seconds=1.25, end_seconds=2.5, text='"no 7"'),
]
SRT = (
    "1\n00:00:00,000 --> 00:00:00,500\nshe\n<i>said</i>\n\n"
    '2\n00:00:01,250 --> 00:00:02,500\n"no 7"\n'
)
LABELS = '0.000000\t0.500000\tshe said\n\\\t200.0\t300.0\n1.250000\t2.500000\t"no 7"\n'


@pytest.mark.parametrize("text", [LONG, SHORT])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_tier_of_words_is_read_without_its_pauses(text: str, encoding: str) -> None:
    assert text_grid_segments(text.encode(encoding)) == SAID


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_subtitles_are_read_without_their_markup(end: str) -> None:
    assert srt_segments(SRT.replace("\n", end).encode("utf-8-sig")) == SAID


def test_labels_are_read_without_their_frequencies() -> None:
    assert labels_of(LABELS) == SAID
    assert labels_of("0.0\t0.5\tshe said\nand no label") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no grid", "no TextGrid"),
        ('"ooTextFile" "TextGrid" 0 1', "ends within a tier"),
        (LONG.replace("ann - words", "b").replace("phones", "a"), "interval tiers a, b; name"),
        (SHORT.replace("IntervalTier", "TextTier"), "interval tiers none"),
        (SHORT.replace("1.25\n2.5", "one\ntwo"), "could not convert|ends within a tier"),
    ],
)
def test_a_grid_that_can_not_be_read_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text_grid_segments(text.encode())


@pytest.mark.parametrize(
    ("name", "text"), [("talk.TextGrid", LONG), ("talk.srt", SRT), ("talk.txt", LABELS)]
)
def test_segments_beside_a_recording_become_its_clips(name: str, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "en"
    folder.mkdir()
    (folder / "talk.wav").write_bytes(sound_file(tone(2.5)))
    (folder / name).write_text(text)
    (clip,), rejects = read_source(DataSource(folder=str(tmp_path)))
    assert rejects == []
    assert (clip.id, clip.language) == ("en/talk/0.000-2.500", "en")
    assert clip.targets == {"asr": 'she said "no 7"'}
    assert (clip.begin_seconds, clip.end_seconds) == (0, 2.5)


def test_a_file_of_segments_that_can_not_be_read_rejects_its_recording_alone(
    tmp_path: Path,
) -> None:
    for name, text in (("a", "nothing"), ("b", SRT)):
        (tmp_path / f"{name}.wav").write_bytes(sound_file(tone(2.5)))
        (tmp_path / f"{name}.srt").write_text(text)
    rejected, clip = iter_source(DataSource(folder=str(tmp_path)))
    assert isinstance(rejected, Rejected)
    assert (rejected.id, rejected.reason) == ("a", "invalid_row")
    assert "the SRT file has no subtitle" in rejected.detail
    assert clip.id.startswith("b/")


def test_a_transcript_goes_before_segments(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(sound_file(tone(2.5)))
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "a.TextGrid").write_text(SHORT)
    (clip,), _ = read_source(DataSource(folder=str(tmp_path)))
    assert clip.targets == {"asr": "hello"}
