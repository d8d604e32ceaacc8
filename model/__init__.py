"""The network and its numerics, on top of transformers' Qwen2-Audio modules."""
