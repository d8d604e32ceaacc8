"""Reads, builds, assembles and writes checkpoints of Qwen2-Audio and of its two towers."""
