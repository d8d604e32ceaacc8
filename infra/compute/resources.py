"""Holds `Resources`: workers, devices, memory and retries. They change no fingerprint."""

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.recipe import Recipe
from data_contracts.training_choices import StrategyName
from infra.compute.hardware import Hardware
from infra.compute.keep_checkpoints import KeepCheckpoints


class Loading(Recipe):
    """How far ahead micro-batches are made, beside the network that computes others."""

    threads: int = Field(1, ge=1)
    """Threads a worker that make steps, one each."""
    steps_ahead: int = Field(2, ge=0)
    """Steps that may wait in memory; 0: a step is made when the network asks for it."""


class Resources(Hardware):
    """What a run may use. Nothing here changes a number or a fingerprint."""

    backend: Literal["ray", "process"] = "ray"
    num_cpus: int = Field(2, ge=1)
    """CPUs that Ray may use on this machine; a cluster brings its own."""
    num_workers: int = Field(2, ge=1)
    """Training workers."""
    min_workers: int | None = Field(None, ge=1)
    """A group starts with as few as these where no more find room; empty: `num_workers`."""
    placement_seconds: float = Field(120, gt=0)
    """How long a group waits for room for all its workers, after a lost node too."""
    gpus_per_worker: float = Field(0, ge=0)
    strategy: StrategyName = "ddp"
    """How several workers share the model: see `tasks/training/strategies`."""
    activation_checkpointing: bool = False
    """Compute each layer twice, to keep less of it in memory; the same numbers."""
    max_failures: int = Field(3, ge=0)
    """How often a training group starts again from its last checkpoint."""
    max_tokens_per_micro_batch: int = Field(32_768, ge=1)
    """Most tokens, audio's included, that a worker packs into one row: what its memory holds."""
    loading: Loading = Loading()
    checkpoint_every_steps: int = Field(100, ge=1)
    keep_checkpoints: KeepCheckpoints = KeepCheckpoints()
    log_every_steps: int = Field(10, ge=1)
    stall_seconds: float = Field(1800, gt=0)
    """A step that takes longer ends the run, with the stacks of all workers in the log."""
    early_evaluation_every_steps: int = Field(0, ge=0)
    """How often held-out loss and a few held-out answers are shown during training; 0: never."""

    @model_validator(mode="after")
    def _workers_fit(self) -> "Resources":
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(
                f"min_workers is {self.min_workers}, num_workers {self.num_workers}; "
                "the least can't be more than the wanted: lower min_workers"
            )
        return self
