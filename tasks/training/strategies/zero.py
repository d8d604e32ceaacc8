"""ZeRO (Rajbhandari et al. 2020): moments, gradients and parameters in shares, by DeepSpeed.

Stage 1 divides the optimizer's moments, stage 2 the gradients too, stage 3 the parameters too.
What has no public name in DeepSpeed is in `deepspeed_internals.py`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from infra.compute.interface import Worker
from tasks.training.objective import ObjectiveModule
from tasks.training.optimizer import build_optimizer, set_rate
from tasks.training.recipe import OptimizerRecipe
from tasks.training.state import Trained
from tasks.training.strategies import deepspeed_internals as internals
from tasks.training.strategies.strategy import Strategy

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Zero(Strategy):
    """One of DeepSpeed's stages around torch's AdamW."""

    def __init__(
        self,
        objective: ObjectiveModule,
        recipe: OptimizerRecipe,
        worker: Worker,
        saved: Trained | None,
        zero_optimization: dict[str, Any],
    ) -> None:
        """`zero_optimization`: that part of DeepSpeed's configuration, with its `stage`."""
        deepspeed = internals.import_deepspeed(worker.device)
        adamw = build_optimizer(objective.to(worker.device).model, recipe)
        engine, *_ = deepspeed.initialize(
            model=objective,
            optimizer=adamw,
            config=_configuration(recipe, zero_optimization),
            dist_init_required=False,
        )
        super().__init__(objective, engine)
        self._engine = engine
        self._adamw = adamw
        self._adamw_step = adamw.step
        self._stage: int = zero_optimization["stage"]
        self._rank = worker.rank
        self._world_size = worker.world_size
        self._fill(saved["optimizer"] if saved is not None else {})

    def step(self, rate: float, accept: Callable[[float], bool]) -> float:
        answers: list[bool] = []

        def step_if_accepted() -> None:
            # The engine knows the norm by now, and asks for one parameter group after the other.
            if not answers:
                answers.append(accept(internals.norm_in_step(self._engine)))
            if answers[0]:
                self._adamw_step()

        self._adamw.step = step_if_accepted  # type: ignore[method-assign, assignment]
        set_rate(self._adamw, rate)
        self._engine.step()
        norm = float(self._engine.get_global_grad_norm())
        if not answers:  # not finite: the engine has passed the step over
            accept(norm)
        return norm

    def _backward(self, loss: Tensor) -> None:
        self._engine.backward(loss)

    def _gather(self, parameter: nn.Parameter) -> tuple[Tensor | None, dict[str, Tensor]]:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        moments = {
            key: safe_get_full_optimizer_state(parameter, key).to("cpu", copy=True)
            for key in _MOMENTS
        }
        weights = safe_get_full_fp32_param(parameter).to("cpu", copy=True)
        if self._rank > 0:
            return None, {}
        # All shares make their steps together.
        step = next(iter(self._adamw.state.values()))["step"]
        return weights, moments | {"step": step.to("cpu", copy=True)}

    def _fill(self, saved: dict[str, dict[str, Tensor]]) -> None:
        """Give all shares their moments, zero at the beginning.

        torch would make them at the first step; but DeepSpeed looks for those of stages 1 and 2
        when the first of several parameter groups has made its step, and then never again.
        """
        # All parameters have made the same steps, none at all where every step was refused.
        first = next(iter(saved.values()), {})
        step = first.get("step", torch.tensor(0.0))
        for share in internals.shares(self._engine, self._stage):
            moments = {key: torch.zeros_like(share) for key in _MOMENTS}
            self._adamw.state[share] = moments | {"step": step.clone()}
        internals.link_moments(self._engine, self._stage)
        for name, values in saved.items():
            for key, moment in values.items():
                if key in _MOMENTS:
                    self._set(self._trained[name], key, moment.to(self._engine.device))

    def _set(self, parameter: nn.Parameter, key: str, whole: Tensor) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        if self._stage < 3:
            safe_set_full_optimizer_state(parameter, whole, key)
            return
        # The function above would read over the end of what the workers don't divide evenly.
        size = internals.share_size(parameter)
        padding = (0, size * self._world_size - whole.numel())
        padded = nn.functional.pad(whole.flatten(), padding)
        mine = padded.narrow(0, size * self._rank, size)
        safe_set_local_optimizer_state(parameter, mine, key)


def _configuration(recipe: OptimizerRecipe, zero_optimization: dict[str, Any]) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,
        # step() alone ends a step, after however many micro-batches.
        "managed_gradient_accumulation": False,
        "gradient_clipping": recipe.clip_norm,
        "zero_optimization": zero_optimization,
        "zero_allow_untested_optimizer": True,
        # Its own AdamW for the CPU is compiled at run time; torch's is the same on every device.
        "zero_force_ds_cpu_optimizer": False,
    }
