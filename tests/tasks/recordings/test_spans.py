"""A part of a recording is what lies between its times, whoever decodes the file."""

import io

import numpy as np
import pytest
import soundfile

from tasks.recordings.decode import DecodeError, decode
from tests.support.ffmpeg_files import ffmpeg_file
from tests.support.recordings import noise, sound_file, tone
from tests.tasks.recordings.test_decode_lengths import with_unknown_length

PITCHES = (500.0, 1000.0, 2000.0)
"""In Hz, of a second each."""


def melody(rate: int) -> np.ndarray:
    return np.concatenate([tone(1, hz, rate) for hz in PITCHES])


FILES = {
    "a.wav": sound_file(melody(16_000)),
    "a.flac": sound_file(melody(44_100), 44_100, "FLAC"),
    "a.mp3": sound_file(melody(44_100), 44_100, "MP3"),
    "a.ogg": sound_file(melody(16_000), 16_000, "OGG", "VORBIS"),
    "a.m4a": ffmpeg_file(melody(44_100)[None], 44_100, "aac", "ipod"),
    "a.gsm": sound_file(melody(8_000), 8_000, "RAW", "GSM610"),
    "from a pipe.flac": with_unknown_length(sound_file(melody(16_000), container="FLAC")),
}


def strongest_hz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.fft.rfftfreq(len(waveform), 1 / 16_000)[spectrum.argmax()])


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("name", FILES)
def test_a_second_of_a_file_has_the_pitch_of_that_second(name: str, number: int) -> None:
    # Encoders of lossy formats delay by up to 65 ms, so the borders are left out.
    begin, end = number + 0.1, number + 0.9
    waveform, seconds = decode(FILES[name], name, begin_seconds=begin, end_seconds=end)
    assert len(waveform) == 12_800
    assert seconds == pytest.approx(0.8)
    assert strongest_hz(waveform) == pytest.approx(PITCHES[number], abs=3)


LOSSLESS = {
    "libsndfile": sound_file(noise(3, 1), container="FLAC"),
    "FFmpeg": with_unknown_length(sound_file(noise(3, 1), container="FLAC")),
}


@pytest.mark.parametrize(("begin", "end"), [(0, 0.5), (1.25, 1.5), (2.0, 3.0), (2.5, None)])
@pytest.mark.parametrize("decoder", LOSSLESS)
def test_the_samples_of_a_part_are_those_of_the_file(
    decoder: str, begin: float, end: float | None
) -> None:
    whole, _ = soundfile.read(io.BytesIO(LOSSLESS["libsndfile"]), dtype="float32")
    last = 48_000 if end is None else round(end * 16_000)
    part = decode(LOSSLESS[decoder], "a.flac", begin_seconds=begin, end_seconds=end)
    assert np.array_equal(part.waveform, whole[round(begin * 16_000) : last])
    assert part.seconds == pytest.approx(last / 16_000 - begin)


@pytest.mark.parametrize("decoder", LOSSLESS)
def test_of_a_long_part_a_second_more_than_is_allowed_is_decoded(decoder: str) -> None:
    part = decode(LOSSLESS[decoder], "a.flac", max_seconds=1, begin_seconds=0.5)
    assert len(part.waveform) == 2 * 16_000
    if decoder == "FFmpeg":
        assert 2 <= part.seconds <= 2.5  # a FLAC from a pipe does not say how much follows
    else:
        assert part.seconds == pytest.approx(2.5)


@pytest.mark.parametrize("decoder", LOSSLESS)
def test_a_part_behind_the_end_is_empty_and_the_end_is_named(decoder: str) -> None:
    with pytest.raises(
        DecodeError, match=r"no samples from 5 s on: it ends after 3\.000 s"
    ) as raised:
        decode(LOSSLESS[decoder], "a.flac", begin_seconds=5, end_seconds=6)
    assert raised.value.reason == "empty"
