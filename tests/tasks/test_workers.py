"""Any split of a step's examples over workers makes the same step."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing
from transformers import Qwen2AudioForConditionalGeneration

from infra.compute import Worker
from model.construct import ModelRecipe, build_model
from model.tokenizer import train_tokenizer
from tasks.optimization import (
    Meter,
    OptimizerRecipe,
    StepOutcome,
    adamw,
    distribute,
    optimizer_step,
    share,
)

RECIPE = OptimizerRecipe(steps=4, examples_per_step=5, learning_rate=0.01, warmup_steps=1)
LABELS = [3, 1, 4, 1, 5]
"""Terms of each example's loss: the mean over all is no mean of the workers' means."""


class Lookup:
    """An objective over embeddings, whose examples have different numbers of labels."""

    def costs(self, examples: Sequence[int]) -> list[float]:
        return [float(LABELS[example]) for example in examples]

    def outcome(
        self, model: Qwen2AudioForConditionalGeneration, examples: Sequence[int], step: int
    ) -> StepOutcome:
        rows = torch.tensor([i for i in examples for _ in range(LABELS[i])])
        loss = model.model.language_model.embed_tokens(rows + step).square().mean(1).sum()
        counts = {"tokens": 1.0, "padding_tokens": 0.0, "audio_seconds": 0.0, "flops": 1.0}
        return StepOutcome(loss, len(rows), counts)


def train(rank: int, world_size: int, port: int, folder: Path) -> None:
    """The steps of one worker, which leaves behind its embeddings and losses."""
    torch.set_num_threads(1)
    if world_size > 1:
        address = f"tcp://127.0.0.1:{port}"
        distributed.init_process_group(
            "gloo", init_method=address, rank=rank, world_size=world_size
        )
    sizes = {"text_width": 16, "text_ffn": 16, "audio_width": 16, "audio_ffn": 16}
    tokenizer = train_tokenizer(["a b c"], 300, [])
    model = build_model(ModelRecipe(**sizes, audio_layers=1, text_layers=1), tokenizer)
    model.requires_grad_(False)
    model.model.language_model.embed_tokens.requires_grad_(True)
    worker, objective = Worker(rank, world_size), Lookup()
    module, optimizer = distribute(model, objective, RECIPE, worker), adamw(model, RECIPE)
    meter = Meter(worker, {}, peak=1.0)
    losses = []
    for step in range(RECIPE.steps):
        mine = share(range(5), objective.costs(range(5)), worker)
        losses.append(optimizer_step(module, optimizer, mine, step, RECIPE, meter)[0])
    weight = model.model.language_model.embed_tokens.weight.detach()
    torch.save({"losses": losses, "weight": weight}, folder / f"{world_size}-{rank}.pt")
    if world_size > 1:
        distributed.destroy_process_group()


def test_losses_and_weights_of_two_workers_are_those_of_one(tmp_path: Path) -> None:
    train(0, 1, 0, tmp_path)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    multiprocessing.spawn(train, args=(2, port, tmp_path), nprocs=2)
    alone = torch.load(tmp_path / "1-0.pt")
    for rank in range(2):
        shared = torch.load(tmp_path / f"2-{rank}.pt")
        assert shared["losses"] == pytest.approx(alone["losses"], rel=1e-6)
        torch.testing.assert_close(shared["weight"], alone["weight"], atol=1e-6, rtol=1e-5)
