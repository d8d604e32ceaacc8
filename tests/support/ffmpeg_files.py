"""Recordings as FFmpeg writes them."""

import io

import av
import numpy as np


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
