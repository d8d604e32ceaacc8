"""Other people's programs agree with what we write, and with the remedies that we name."""

import subprocess
from pathlib import Path

import numpy as np

from tasks.recordings.codec import encode_audio
from tasks.recordings.decode import decode
from tests.support.recordings import noise, sound_file, tone
from tests.support.system_tools import needs_program


@needs_program("ffmpeg")
def test_the_ffmpeg_program_reads_an_opus_clip_as_we_do(tmp_path: Path) -> None:
    clip = tmp_path / "clip.opus"
    clip.write_bytes(encode_audio(tone(2, 500).astype(np.float32), "opus"))
    command = ["ffmpeg", "-v", "error", "-i", str(clip), "-f", "f32le", "-ar", "16000", "-"]
    theirs = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, "<f4")
    ours = decode(clip.read_bytes(), clip.name).waveform
    assert len(theirs) == len(ours) == 32_000
    middle = slice(4_000, 28_000)  # resamplers differ at the ends
    np.testing.assert_allclose(ours[middle], theirs[middle], atol=0.01)


@needs_program("sox")
def test_the_command_that_kaldi_directories_are_advised_writes_one_channel(tmp_path: Path) -> None:
    channels = np.stack([noise(1, 1), noise(1, 2)], axis=1)
    (tmp_path / "both.wav").write_bytes(sound_file(channels))
    command = ["sox", str(tmp_path / "both.wav"), str(tmp_path / "second.wav"), "remix", "2"]
    subprocess.run(command, check=True)
    second = decode((tmp_path / "second.wav").read_bytes(), "second.wav").waveform
    np.testing.assert_allclose(second, channels[:, 1], atol=2**-15)
