"""Names that a profile chooses from for a training: recipes, resources and estimates share them."""

from typing import Literal

StrategyName = Literal["ddp", "fsdp2", "zero1", "zero2", "zero3", "zero3_offload"]
"""How several workers share a model: see `tasks/training/strategies`."""
Precision = Literal["float32", "bfloat16"]
"""Precision of the matrix products; weights, sums and norms stay in float32."""
OptimizerName = Literal["adamw", "adamw_8bit"]
"""AdamW with its moments in float32, or in 8 bits by bitsandbytes."""
