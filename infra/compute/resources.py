"""Resources of a run: workers, devices, memory and restarts. They change no fingerprint."""

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.recipe import Recipe
from data_contracts.training_choices import StrategyName
from infra.compute.hardware import Hardware
from infra.compute.keep_checkpoints import KeepCheckpoints


class Loading(Recipe):
    """How far ahead steps are collated, beside the network that computes others."""

    threads: int = Field(1, ge=1)
    """Threads of each worker that collate steps, each a step of its own; at least 1."""
    steps_ahead: int = Field(2, ge=0)
    """Steps that may wait in each worker's memory; 0: a step is made when the network needs it."""


class Resources(Hardware):
    """What a run may use. Nothing here changes a number or a fingerprint."""

    backend: Literal["ray", "process"] = "ray"
    """Where work runs: "ray" on this machine or a cluster, "process" with one worker in the
    process of the run."""
    num_cpus: int = Field(2, ge=1)
    """CPUs that Ray may use on this machine, at least 1; a cluster brings its own."""
    num_workers: int = Field(2, ge=1)
    """Workers of a training group, at least 1."""
    min_workers: int | None = Field(None, ge=1)
    """Workers with which a group starts where no more find room, from 1 to `num_workers`; null:
    `num_workers`."""
    placement_seconds: float = Field(120, gt=0)
    """Seconds that a group waits for room for all its workers, after a lost node too; above 0."""
    gpus_per_worker: float = Field(0, ge=0)
    """GPUs of each worker; 0: workers compute on the CPU. A share of one is allowed."""
    strategy: StrategyName = "ddp"
    """How several workers share the model: replicated (`ddp`), sharded by torch (`fsdp2`) or by
    DeepSpeed's ZeRO in three stages, the third also with the state in host memory."""
    activation_checkpointing: bool = False
    """Whether each layer is computed twice, to keep less of it in memory; the numbers are the
    same."""
    max_failures: int = Field(3, ge=0)
    """Failures after which a training group starts again from its last checkpoint; 0: none."""
    max_tokens_per_micro_batch: int = Field(32_768, ge=1)
    """Tokens, audio's included, that a worker packs into one row at most: what its memory holds."""
    loading: Loading = Loading()
    """How far ahead steps are collated."""
    checkpoint_every_steps: int = Field(100, ge=1)
    """Steps from one saved training state to the next, at least 1."""
    keep_checkpoints: KeepCheckpoints = KeepCheckpoints()
    """Which training states stay in the store."""
    log_every_steps: int = Field(10, ge=1)
    """Steps from one log of the metrics to the next, at least 1."""
    stall_seconds: float = Field(1800, gt=0)
    """Seconds after which a step counts as stalled, above 0: the run ends, with the stacks of all
    workers in the log."""
    early_evaluation_every_steps: int = Field(0, ge=0)
    """Steps from one showing of the held-out loss and of a few held-out answers to the next; 0:
    none."""

    @model_validator(mode="after")
    def _workers_fit(self) -> "Resources":
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(
                f"min_workers is {self.min_workers}, num_workers {self.num_workers}; "
                "the least can't be more than the wanted: lower min_workers"
            )
        return self
