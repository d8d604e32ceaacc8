"""Decoding against files that libsndfile and FFmpeg write."""

import io
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.recordings.decode import DecodeError, check_clip, decode
from tasks.recordings.read import MAX_FILE_BYTES, read_audio
from tests.support.audio_copies import as_opus
from tests.support.recordings import noise, sound_file, tone

HZ = 1000.0


def ffmpeg_file(waveform: np.ndarray, rate: int, codec: str, container: str) -> bytes:
    """`waveform` [channels, num_samples] as FFmpeg encodes it."""
    layout = "mono" if len(waveform) == 1 else "stereo"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        planar = np.ascontiguousarray(waveform, np.float32)
        frame = av.AudioFrame.from_ndarray(planar, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return buffer.getvalue()


def strongest_hz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(np.fft.rfftfreq(len(waveform), 1 / 16_000)[spectrum.argmax()])


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(DecodeError) as caught:
        call()
    return caught.value.reason


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


LONG_FILES = {
    "long.wav": sound_file(tone(50, HZ, 8_000), 8_000),
    "long.ogg": sound_file(tone(50, HZ, 8_000), 8_000, "OGG", "VORBIS"),
    "long.mp3": sound_file(tone(50, HZ, 44_100), 44_100, "MP3"),
    "long.m4a": ffmpeg_file(tone(50, HZ)[None], 16_000, "aac", "ipod"),
    "long.gsm": sound_file(tone(50, HZ, 8_000), 8_000, "RAW", "GSM610"),
}


@pytest.mark.parametrize("name", LONG_FILES)
def test_of_a_long_file_a_second_more_than_is_allowed_is_decoded_with_its_whole_length(
    name: str,
) -> None:
    whole, _ = decode(LONG_FILES[name], name, max_seconds=60)
    beginning, seconds = decode(LONG_FILES[name], name)
    assert len(whole) / 16_000 == pytest.approx(50, abs=0.15)
    assert seconds == pytest.approx(50, abs=0.15)
    assert len(beginning) / 16_000 == pytest.approx(31, abs=0.15)
    assert np.array_equal(beginning[:480_000], whole[:480_000])


def claiming(flac: bytes, num_samples: int) -> bytes:
    """The FLAC file with another count of samples: the low 36 bits of bytes 18 to 25."""
    assert flac[:4] == b"fLaC"
    field = int.from_bytes(flac[18:26], "big") >> 36 << 36 | num_samples
    return flac[:18] + field.to_bytes(8, "big") + flac[26:]


def traced_peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_flac_that_claims_ten_hours_allocates_what_it_holds_and_is_refused() -> None:
    data = claiming(sound_file(tone(1), container="FLAC"), 36_000 * 16_000)
    with soundfile.SoundFile(io.BytesIO(data)) as sound:
        assert sound.frames == 36_000 * 16_000
    assert reason_of(lambda: decode(data, "a.flac", max_seconds=36_000)) == "damaged"
    whole = 36_000 * 16_000 * 4
    peak = traced_peak(lambda: reason_of(lambda: decode(data, "a.flac", max_seconds=36_000)))
    assert peak < whole / 1_000


def test_a_small_file_of_ten_real_hours_is_decoded_only_as_far_as_it_is_packed() -> None:
    data = sound_file(np.zeros(10 * 3_600 * 1_000, np.int16), 1_000, "FLAC")
    loud = sound_file(tone(40, HZ), container="FLAC")
    assert len(data) < 500_000  # 2.3 GB as 16 kHz float32
    peak = traced_peak(lambda: reason_of(lambda: decode(data, "bomb.flac")))
    assert peak < 10 * traced_peak(lambda: decode(loud, "a.flac"))
    assert reason_of(lambda: decode(data, "bomb.flac")) == "silent"


WHOLE_FILES = {
    "WAV": sound_file(noise(10, 1), subtype="PCM_16"),
    "FLAC": sound_file(noise(10, 1), container="FLAC", subtype="PCM_16"),
    "AIFF": sound_file(noise(10, 1), container="AIFF", subtype="PCM_16"),
    "MP3 of LAME": sound_file(noise(10, 1), container="MP3"),
    "MP3 with a tag": b"ID3\x04\0\0\0\0\x01\x48"
    + bytes(200)
    + sound_file(noise(10, 1), container="MP3"),
    "MP3 of FFmpeg": ffmpeg_file(noise(10, 1)[None], 16_000, "libmp3lame", "mp3"),
    "Ogg Vorbis": sound_file(noise(10, 1), container="OGG", subtype="VORBIS"),
    "Ogg Opus": sound_file(noise(10, 1), container="OGG", subtype="OPUS"),
    "Ogg Opus of FFmpeg": ffmpeg_file(noise(10, 1)[None], 16_000, "libopus", "ogg"),
    "M4A": ffmpeg_file(noise(10, 1)[None], 16_000, "aac", "ipod"),
}


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("kind", WHOLE_FILES)
def test_a_part_of_a_file_is_damaged_and_not_a_shorter_clip(kind: str, kept: float) -> None:
    data = WHOLE_FILES[kind]
    assert len(decode(data, "a").waveform) == pytest.approx(160_000, abs=1_100)
    reason = reason_of(lambda: decode(data[: int(len(data) * kept)], "a"))
    assert reason in ("damaged", "not_audio")


def without_count(mp3: bytes) -> bytes:
    """The same frames without the one that counts them."""
    offset = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    return mp3[: offset + 7] + bytes([mp3[offset + 7] & 0xFE]) + mp3[offset + 8 :]


def with_unknown_length(flac: bytes) -> bytes:
    return claiming(flac, 0)


def vbr(seconds: float) -> np.ndarray:
    """Noise behind silence: few bytes, then many, from which no length can be guessed."""
    return np.concatenate([np.zeros(round(seconds * 8_000), np.float32), noise(seconds / 2, 1)])


LENGTH_UNKNOWN = {
    "mp3 of a varying rate": without_count(sound_file(vbr(20), container="MP3")),
    "flac from a pipe": with_unknown_length(sound_file(vbr(20), container="FLAC")),
    "two ogg in a row": 2 * sound_file(vbr(10), container="OGG", subtype="VORBIS"),
    "two opus in a row": 2 * sound_file(vbr(10), container="OGG", subtype="OPUS"),
}


@pytest.mark.parametrize("name", LENGTH_UNKNOWN)
def test_a_file_that_does_not_know_its_length_is_decoded_to_its_end(name: str) -> None:
    waveform, seconds = decode(LENGTH_UNKNOWN[name], "a")
    assert len(waveform) / 16_000 == pytest.approx(20, abs=0.2)
    assert seconds == pytest.approx(20, abs=0.2)


def ogg_checksum(page: bytes | bytearray) -> int:
    """RFC 3533, section 6: the generator is 0x04C11DB7, and nothing is inverted."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFF_FFFF
    return crc


def as_written_by_others(name: str) -> bytes:
    """Whole files with an oddity of programs that write them."""
    wav, mp3 = bytearray(sound_file(noise(4, 1))), bytearray(sound_file(noise(4, 1), 16_000, "MP3"))
    if name == "RIFF counts its own header":
        wav[4:8] = len(wav).to_bytes(4, "little")
    elif name == "pad byte is counted and not written":
        wav[4:8] = (len(wav) - 7).to_bytes(4, "little")
    elif name == "sizes of a gigabyte from a pipe":
        wav[4:8] = wav[40:44] = (1 << 30).to_bytes(4, "little")
    elif name == "no page ends the stream":
        ogg = bytearray(sound_file(noise(4, 1), container="OGG", subtype="VORBIS"))
        page = ogg.rfind(b"OggS")
        ogg[page + 5] &= ~4 & 0xFF
        ogg[page + 22 : page + 26] = bytes(4)
        ogg[page + 22 : page + 26] = ogg_checksum(ogg[page:]).to_bytes(4, "little")
        return bytes(ogg)
    else:
        offset = max(mp3.find(b"Xing"), mp3.find(b"Info"))
        frames = int.from_bytes(mp3[offset + 8 : offset + 12], "big") + 1
        mp3[offset + 8 : offset + 12] = frames.to_bytes(4, "big")
        return bytes(mp3)
    return bytes(wav)


@pytest.mark.parametrize(
    "name",
    [
        "RIFF counts its own header",
        "pad byte is counted and not written",
        "sizes of a gigabyte from a pipe",
        "no page ends the stream",
        "mp3 counts the frame with the count",
    ],
)
def test_a_whole_file_of_an_odd_program_is_not_taken_for_a_part(name: str) -> None:
    waveform = decode(as_written_by_others(name), "a").waveform
    assert len(waveform) == pytest.approx(64_000, abs=1_500)


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


@pytest.mark.parametrize(
    "url",
    [
        "pipe://0",
        "ssh://host/a.wav",
        "github://a:b@main/c",
        "simplecache::/a.wav",
        "/a::b.wav",
        "file:///a::ssh://b",
        "pipe:0",
        "cat a.wav |",
    ],
)
def test_urls_that_are_no_plain_file_store_are_refused(url: str) -> None:
    assert reason_of(lambda: read_audio(url)) == "refused_url"


def test_a_colon_in_a_name_starts_nothing() -> None:
    assert reason_of(lambda: read_audio("./pipe:0")) == "missing_file"


def test_files_are_read_by_path_and_by_url(tmp_path: Path) -> None:
    path = tmp_path / "at 10:30.wav"
    path.write_bytes(b"bytes")
    assert read_audio(str(path)) == read_audio(f"file://{path}") == b"bytes"


def test_a_wav_from_a_pipe_that_does_not_know_its_size_is_whole() -> None:
    data = bytearray(sound_file(tone(1)))
    data[4:8] = b"\xff\xff\xff\xff"
    assert len(decode(bytes(data), "a.wav").waveform) == 16_000


@pytest.mark.parametrize("where", ["none.wav", ".", "file/below.wav", "a" * 300 + ".wav"])
def test_what_is_not_a_readable_file_is_missing(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert reason_of(lambda: read_audio(f"{tmp_path}/{where}")) == "missing_file"


def test_a_device_a_pipe_and_a_link_to_one_are_never_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to("/dev/zero")
    for path in ("/dev/zero", f"{tmp_path}/pipe.wav", f"{tmp_path}/link.wav"):
        with pytest.raises(DecodeError, match="device or a pipe") as caught:
            read_audio(path)
        assert caught.value.reason == "missing_file"


def test_a_file_of_more_than_a_gigabyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.wav"
    path.touch()
    os.truncate(path, MAX_FILE_BYTES + 1)  # a hole: it takes no room on the disk
    with pytest.raises(DecodeError, match=r"huge.wav has 1073741825 bytes.*Split") as caught:
        read_audio(str(path))
    assert caught.value.reason == "too_large"


def test_opus_is_decoded_without_a_step_in_time() -> None:
    """libsndfile plays what the encoder put before the beginning, until it seeks."""
    chirp = np.sin(2 * np.pi * np.cumsum(np.linspace(200, 3000, 48_000)) / 16_000)
    data = as_opus((0.5 * chirp).astype(np.float32))
    at_once, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    expected = soxr.resample(at_once, rate, 16_000)
    np.testing.assert_allclose(decode(data, "chirp.opus").waveform, expected, atol=1e-6)
