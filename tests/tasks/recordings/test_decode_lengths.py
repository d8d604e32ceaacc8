"""Long files are decoded in part, and parts of files are not taken for whole ones."""

import io
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from tasks.recordings.decode import DecodeError, decode
from tests.support.ffmpeg_files import ffmpeg_file
from tests.support.recordings import noise, sound_file, tone
from tests.support.refusals import reason_of

HZ = 1000.0


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


def test_a_wav_from_a_pipe_that_does_not_know_its_size_is_whole() -> None:
    data = bytearray(sound_file(tone(1)))
    data[4:8] = b"\xff\xff\xff\xff"
    assert len(decode(bytes(data), "a.wav").waveform) == 16_000


def with_note(wav: bytes, note: bytes) -> bytes:
    """The wav with a chunk of another program before its samples; RIFF fills odd ones up by a byte.

    Source: Microsoft, Multimedia Programming Interface and Data Specifications 1.0 (1991), RIFF.
    """
    data = wav.index(b"data")
    chunk = b"note" + len(note).to_bytes(4, "little") + note + bytes(len(note) % 2)
    size = len(wav) - 8 + len(chunk)
    return b"RIFF" + size.to_bytes(4, "little") + wav[8:data] + chunk + wav[data:]


@pytest.mark.parametrize("note", [b"even", b"odd"])
def test_the_end_of_a_wav_is_known_behind_chunks_of_odd_size(note: bytes) -> None:
    wav = with_note(sound_file(noise(1, 1)), note)
    assert len(decode(wav, "a.wav").waveform) == 16_000
    with pytest.raises(DecodeError, match=f"it has {len(wav) - 6} of {len(wav)} bytes"):
        decode(wav[:-6], "a.wav")
