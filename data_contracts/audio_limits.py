"""What a waveform must have so that it can be heard: a rate, a length and a level."""

SAMPLE_RATE = 16_000
"""Samples per second of every waveform after ingestion."""
HOP_LENGTH = 160
"""Samples between two spectra: 10 ms."""
MIN_SAMPLES = 2 * HOP_LENGTH + 1
"""321 samples make three mel frames, two positions of the encoder and the first audio token."""
MIN_SECONDS = MIN_SAMPLES / SAMPLE_RATE
MIN_RMS = 1e-4
"""Least level, of full scale: -80 dB, three steps of a 16-bit recording. Below it is silence."""
