"""What is trained for: next-token loss, alignment of the encoder, and preference (DPO)."""
