"""Decoding against files that libsndfile and FFmpeg write."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.recordings.decode import DecodeError, check_clip, decode
from tests.support.audio_copies import as_opus
from tests.support.ffmpeg_files import ffmpeg_file
from tests.support.recordings import noise, sound_file, tone
from tests.support.refusals import reason_of

HZ = 1000.0


def strongest_hz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.fft.rfftfreq(len(waveform), 1 / 16_000)[spectrum.argmax()])


FILES = {
    "8 bit.wav": sound_file(tone(1.5, HZ), subtype="PCM_U8"),
    "16 bit.wav": sound_file(tone(1.5, HZ), subtype="PCM_16"),
    "24 bit.wav": sound_file(tone(1.5, HZ), subtype="PCM_24"),
    "float.wav": sound_file(tone(1.5, HZ), subtype="FLOAT"),
    "double.wav": sound_file(tone(1.5, HZ), subtype="DOUBLE"),
    **{
        f"{rate} Hz.wav": sound_file(tone(1.5, HZ, rate), rate)
        for rate in (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000)
    },
    "stereo.wav": sound_file(np.stack([tone(1.5, HZ)] * 2, axis=1)),
    "free lossless.flac": sound_file(tone(1.5, HZ, 48_000), 48_000, "FLAC", "PCM_24"),
    "layer three.mp3": sound_file(tone(1.5, HZ, 44_100), 44_100, "MP3"),
    "vorbis.ogg": sound_file(tone(1.5, HZ, 22_050), 22_050, "OGG", "VORBIS"),
    "opus.opus": sound_file(tone(1.5, HZ, 48_000), 48_000, "OGG", "OPUS"),
    "aac.m4a": ffmpeg_file(tone(1.5, HZ, 44_100)[None], 44_100, "aac", "ipod"),
    "raw.g722": ffmpeg_file(tone(1.5, HZ)[None], 16_000, "g722", "g722"),
    "raw.gsm": sound_file(tone(1.5, HZ, 8_000), 8_000, "RAW", "GSM610"),
}


@pytest.mark.parametrize("name", FILES)
def test_duration_pitch_and_level_survive_every_format(name: str) -> None:
    waveform, seconds = decode(FILES[name], name)
    assert seconds == pytest.approx(1.5, abs=0.065)
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert len(waveform) / 16_000 == pytest.approx(1.5, abs=0.065)  # one AAC frame at most
    assert strongest_hz(waveform) == pytest.approx(HZ, abs=2)
    middle = waveform[4_000:20_000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_lossless_samples_at_16_khz_are_not_touched() -> None:
    original = noise(0.3, 1)
    assert np.array_equal(decode(sound_file(original, subtype="FLOAT"), "a.wav").waveform, original)


@pytest.mark.parametrize("kind", ["wav", "m4a"])
def test_channels_are_averaged_whoever_decodes(kind: str) -> None:
    stereo = np.stack([tone(1, HZ, amplitude=0.6), tone(1, HZ, amplitude=0.2)])
    data = sound_file(stereo.T) if kind == "wav" else ffmpeg_file(stereo, 16_000, "aac", "ipod")
    middle = decode(data, f"a.{kind}").waveform[4_000:12_000]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.02)


def test_samples_over_full_scale_are_cut_to_it() -> None:
    waveform = decode(sound_file(tone(1, amplitude=1.5), subtype="FLOAT"), "a.wav").waveform
    assert np.abs(waveform).max() == 1.0


def with_sample(value: float, rate: int = 16_000) -> bytes:
    waveform = tone(1, HZ, rate).astype(np.float32)
    waveform[rate // 2] = value
    return sound_file(waveform, rate, subtype="FLOAT")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (sound_file(np.zeros(0)), "empty"),
        (b"This is no recording, whatever its name says.\n" * 40, "not_audio"),
        (b"\x00" * 4_000, "not_audio"),
        (sound_file(tone(1))[:30], "not_audio"),
        (sound_file(tone(0.0200, HZ)), "too_short"),
        (with_sample(np.nan), "not_finite"),
        (with_sample(np.inf), "not_finite"),
        (with_sample(-np.inf, rate=44_100), "not_finite"),
        (sound_file(np.zeros(16_000)), "silent"),
        (sound_file(tone(1, amplitude=0.9e-4), subtype="FLOAT"), "silent"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_not_be_a_clip_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=r"a clip\.wav") as caught:
        decode(data, "a clip.wav")
    assert caught.value.reason == reason


@pytest.mark.parametrize(("num_samples", "accepted"), [(320, False), (321, True)])
def test_the_shortest_clip_has_one_audio_token(num_samples: int, accepted: bool) -> None:
    waveform = tone(1)[:num_samples].astype(np.float32)
    if accepted:
        check_clip(waveform, "a")
    else:
        assert reason_of(lambda: check_clip(waveform, "a")) == "too_short"


def test_integers_that_are_stored_as_floats_are_refused_and_not_packed_as_a_square_wave() -> None:
    data = sound_file(tone(1) * 32_768, subtype="FLOAT")
    with pytest.raises(DecodeError, match=r"a\.wav reaches 16384 times full scale") as caught:
        decode(data, "a.wav")
    assert caught.value.reason == "over_full_scale"


def test_a_header_with_a_rate_or_channels_of_no_recording_is_refused_before_decoding() -> None:
    for offset, value, claim in (
        (24, 4_000_000_000, "Hz"),
        (24, 7, "7 Hz"),
        (22, 1000, "channels"),
    ):
        data = bytearray(sound_file(tone(1)))
        size = 2 if offset == 22 else 4
        data[offset : offset + size] = value.to_bytes(size, "little")
        with pytest.raises(DecodeError, match=rf"claims .*{claim}|can't be decoded") as caught:
            decode(bytes(data), "a.wav")
        assert caught.value.reason in ("not_audio", "empty")


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile secret.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_playlist_that_is_named_like_a_recording_can_not_pull_in_another_file(
    playlist: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.wav").write_bytes(sound_file(tone(1)))
    monkeypatch.chdir(tmp_path)
    assert reason_of(lambda: decode(playlist.encode(), "a.wav")) == "not_audio"


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["16 bit.wav", "free lossless.flac", "opus.opus", "aac.m4a", "raw.gsm"]),
    damages=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    kept=st.floats(0, 1),
)
def test_a_damaged_file_becomes_a_clip_or_a_decode_error(
    name: str, damages: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(FILES[name])
    for offset, value in damages:
        data[int(offset * (len(data) - 1))] = value
    try:
        waveform, _ = decode(bytes(data[: int(kept * len(data))]), name)
    except DecodeError:
        return
    assert np.isfinite(waveform).all()
    assert 321 <= len(waveform) <= 31.1 * 16_000


def test_opus_is_decoded_without_a_step_in_time() -> None:
    """libsndfile plays what the encoder put before the beginning, until it seeks."""
    chirp = np.sin(2 * np.pi * np.cumsum(np.linspace(200, 3000, 48_000)) / 16_000)
    data = as_opus((0.5 * chirp).astype(np.float32))
    at_once, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    expected = soxr.resample(at_once, rate, 16_000)
    np.testing.assert_allclose(decode(data, "chirp.opus").waveform, expected, atol=1e-6)
