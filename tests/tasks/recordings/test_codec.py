"""FLAC and Opus clips, compared with libsndfile's and FFmpeg's own reading of them."""

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_contracts.records import Clip, PackedClip
from infra.storage.store import Store
from tasks.corpus.reader import ClipReader, DamagedClipError
from tasks.corpus.shards import MadeClip, shard_key, write_shard
from tasks.recordings.codec import UnknownCodecError, decode_audio, encode_audio, media_type
from tasks.recordings.decode import decode
from tests.support.recordings import noise, tone

ROOT = Path(__file__).parents[3]
RECORDINGS = sorted((ROOT / "data/audio/tuxpaint").rglob("*.opus"))[::500]


def samples_of(path: Path) -> np.ndarray:
    return decode(path.read_bytes(), path.name).waveform


def write(folder: Path, waveforms: list[np.ndarray]) -> list[PackedClip]:
    """Shard 0, with Opus clips "0", "1", ..."""
    clips = (
        MadeClip(Clip(id=str(i), audio="-", targets={"sound": "tone"}), waveform, 0.0, (str(i),))
        for i, waveform in enumerate(waveforms)
    )
    return write_shard(Store(str(folder)), 0, clips, "opus")


def pages(ogg: bytes) -> list[bytes]:
    result = []
    while ogg:
        size = 27 + ogg[26] + sum(ogg[27 : 27 + ogg[26]])
        result.append(ogg[:size])
        ogg = ogg[size:]
    return result


def crc_of_rfc_3533(page: bytes) -> int:
    """Bit by bit, as the specification describes it."""
    register = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        register ^= byte << 24
        for _ in range(8):
            register = register << 1 ^ (0x04C11DB7 if register >> 31 else 0)
            register &= 0xFFFFFFFF
    return register


def test_flac_is_16_bit_mono_at_16_khz_and_within_half_a_step_of_the_samples() -> None:
    waveform = noise(0.5, 2)
    data = encode_audio(waveform, "flac")
    info = soundfile.info(io.BytesIO(data))
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    assert np.abs(decode_audio(data) - waveform).max() <= 0.5001 / 32768


def test_the_same_samples_give_the_same_flac_bytes() -> None:
    first, second = (hashlib.sha256(encode_audio(noise(0.5, 3), "flac")).digest() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_opus_keeps_the_length_and_the_position_of_real_speech_in_a_fraction_of_the_bytes(
    path: Path,
) -> None:
    waveform = samples_of(path)
    data = encode_audio(waveform, "opus")
    decoded = decode_audio(data)

    assert decoded.shape == waveform.shape
    middle = slice(50, len(waveform) - 50)
    likeness = {
        lag: float(np.corrcoef(waveform[middle], np.roll(decoded, lag)[middle])[0, 1])
        for lag in range(-20, 21)
    }
    assert max(likeness, key=lambda lag: likeness[lag]) == 0
    assert likeness[0] > 0.9
    assert len(data) < 0.6 * len(encode_audio(waveform, "flac"))


@settings(max_examples=25)
@example(num_samples=321)
@example(num_samples=480_000)
@given(num_samples=st.integers(321, 40_000))
def test_opus_keeps_every_number_of_samples(num_samples: int) -> None:
    data = encode_audio(noise(31, 1)[:num_samples], "opus")

    assert len(decode_audio(data)) == num_samples
    assert soundfile.info(io.BytesIO(data)).frames == num_samples


def test_every_page_of_an_opus_clip_has_serial_0_and_the_checksum_of_rfc_3533() -> None:
    written = pages(encode_audio(noise(4, 5), "opus"))

    assert len(written) > 3
    assert {page[14:18] for page in written} == {bytes(4)}
    assert [int.from_bytes(page[22:26], "little") for page in written] == [
        crc_of_rfc_3533(page) for page in written
    ]


def test_ffmpeg_reads_an_opus_clip_too() -> None:
    waveform = tone(2, 500).astype(np.float32)
    with av.open(io.BytesIO(encode_audio(waveform, "opus"))) as container:
        assert container.streams.audio[0].codec_context.name in ("opus", "libopus")
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    spectrum = np.abs(np.fft.rfft(np.concatenate(frames)[: 2 * 48_000]))
    assert spectrum.argmax() / 2 == pytest.approx(500, abs=1)


def test_two_processes_give_the_same_opus_bytes() -> None:
    script = (
        "import sys, hashlib; from pathlib import Path;"
        "from tasks.recordings.codec import encode_audio;"
        "from tasks.recordings.decode import decode; path = Path(sys.argv[1]);"
        "waveform = decode(path.read_bytes(), path.name).waveform;"
        "print(hashlib.sha256(encode_audio(waveform, 'opus')).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", script, str(RECORDINGS[0])],
            check=True, capture_output=True, text=True,
        ).stdout
        for _ in range(2)
    }  # fmt: skip
    mine = hashlib.sha256(encode_audio(samples_of(RECORDINGS[0]), "opus")).hexdigest()
    assert digests == {f"{mine}\n"}


def test_a_shard_of_opus_is_read_back_by_its_bytes_and_equals_itself_when_written_again(
    tmp_path: Path,
) -> None:
    waveforms = [samples_of(path) for path in RECORDINGS[:3]]
    rows = write(tmp_path / "one", waveforms)
    write(tmp_path / "two", waveforms)

    reader = ClipReader(Store(str(tmp_path / "one")), rows)
    for row, waveform in zip(rows, waveforms, strict=True):
        assert row.num_samples == len(reader[row.id]) == len(waveform)
        assert row.sha256 == hashlib.sha256(reader.audio(row.id)).hexdigest()
        assert np.corrcoef(reader[row.id], waveform)[0, 1] > 0.9
        assert media_type(reader.audio(row.id)) == "audio/ogg"
    first, second = (tmp_path / name / shard_key(0) for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        endings = [name.rpartition(".")[2] for name in tar.getnames()]
    assert endings == ["opus", "json"] * 3


def test_a_damaged_opus_clip_is_named(tmp_path: Path) -> None:
    rows = write(tmp_path, [noise(1, 7), noise(1, 8)])
    shard = tmp_path / shard_key(0)
    data = bytearray(shard.read_bytes())
    data[rows[1].offset + rows[1].size // 2] ^= 1
    shard.write_bytes(data)

    reader = ClipReader(Store(str(tmp_path)), rows)
    assert len(reader["0"]) == 16_000
    with pytest.raises(DamagedClipError, match=r"clip '1' in .*shard-00000.tar at byte .*damaged"):
        reader["1"]


def test_bytes_in_another_codec_are_refused_by_their_first_bytes() -> None:
    with pytest.raises(UnknownCodecError, match=r"begins with b'RIFF'.*flac or opus.*q2a run"):
        decode_audio(b"RIFF" + bytes(100))
