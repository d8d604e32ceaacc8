"""Training loop of one worker: load, step, watch, log, save, export.

Workers stand at the same step and decide alike; what only one has to do is done by rank 0.
"""

import gc
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import distributed

from infra.buffered_metrics import BufferedMetrics
from infra.compute.interface import Worker
from infra.storage.retrying_store import RetryingStore
from infra.time_left import time_left
from model.activation_checkpointing import checkpoint_activations
from model.costs.flops import measured_peak
from tasks.training.checkpoints.folder import Checkpoints
from tasks.training.checkpoints.upload import Uploader
from tasks.training.culprits import BadStep, find_culprits, name_examples
from tasks.training.export import export
from tasks.training.guards.audit import Audit, Trail, check_consumed
from tasks.training.guards.divergence import LOSS, NORM, RollBackError, Watch
from tasks.training.guards.stall import StallGuard
from tasks.training.held_out import Examiner
from tasks.training.job import TrainingJob
from tasks.training.loader import LoadedStep, Loader
from tasks.training.messages.driver import reach
from tasks.training.messages.notices import Errands, Notice, Notices, relaying
from tasks.training.meter import Meter, add_over_workers, gpu_metrics
from tasks.training.objective import MicroBatch, ObjectiveModule
from tasks.training.recipe import OptimizerRecipe
from tasks.training.state import TrainingState
from tasks.training.strategies.choice import open_strategy


def train(job: TrainingJob, worker: Worker) -> None:
    """Train from the last state to the exported model.

    Raises:
        DivergedError: loss or gradient are not finite, or a spike; the log names the examples.
        StallError: a step took longer than `stall_seconds`; the log has the stacks.
        UploadError: the store did not take a training state.
        AuditError: what was computed is not what was planned.
        ParityError: the export answers otherwise than the trained model.
    """
    watch: Watch | None = None
    while True:
        try:
            return _Training(job, worker, watch).run()
        except RollBackError as roll_back:
            watch = roll_back.watch
            gc.collect()  # of the model that is left behind
            if worker.world_size > 1:
                distributed.barrier()  # the first worker's uploads have ended


class _Training:
    """One worker's training from the last state on."""

    def __init__(self, job: TrainingJob, worker: Worker, before: Watch | None) -> None:
        self.job, self.worker = job, worker
        self.notices = Notices(job.directory, worker.rank)
        model, processor = job.open_initial()
        self.objective = job.objective(processor)
        self.processor = processor
        self.examiner: Examiner | None = None
        patient = RetryingStore(job.directory, self.notices.progress)
        self.checkpoints = Checkpoints(
            patient,
            job.identity(processor),
            job.resources.keep_checkpoints,
            self.notices if worker.rank == 0 else _leave_to_first,
            job.scratch,
        )
        self.state, saved = self.checkpoints.load_newest() or (TrainingState(), None)
        self.trail = Trail(patient, worker.rank, self.state.step)
        if worker.rank == 0:
            self.trail.forget_undone()
        _agree(self.state.step, worker)
        self.watch = Watch(job.optimizer.watch, self.state.watch, before)
        self.rolled_back = before is not None
        self.plan = self.watch.admitted(job.data.plan)
        if job.resources.activation_checkpointing:
            checkpoint_activations(model)
        module = ObjectiveModule(model.train(), self.objective, job.optimizer.precision)
        self.strategy = open_strategy(job.resources.strategy, module, job.optimizer, worker, saved)
        if saved is not None:
            del saved
            _agree(self.state.step, worker)  # every worker has its share
        self.checkpoints.local.forget()
        peak = measured_peak(model.device, job.optimizer.dtype)
        self.meter = Meter(worker, self.state.window, peak)
        self.began, self.first = time.monotonic(), self.state.step

    def run(self) -> None:
        """Train all steps that are left, then export."""
        job, worker, resources = self.job, self.worker, self.job.resources
        tokens, first = resources.max_tokens_per_micro_batch, self.state.step
        with (
            Errands() as errands,
            relaying(self.notices, errands),
            Uploader() as uploader,
            BufferedMetrics(job.logger, self.notices.progress) as logger,
            Loader(self.plan, self.objective, worker, tokens, resources.loading, first) as loader,
            StallGuard(resources.stall_seconds, worker, job.directory, self.notices) as guard,
        ):
            if job.held_out and resources.early_evaluation_every_steps:
                self.examiner = job.held_out(self.processor)
            if worker.rank == 0 and first:
                group = f"{worker.world_size} worker{'s' * (worker.world_size > 1)}"
                self.notices.progress(f"continues from the state after step {first} on {group}")
            if worker.rank == 0 and not self.rolled_back:  # then MLflow has them already
                for entry in (*self.state.history, *self.state.held_out):
                    logger.metrics(entry["metrics"], entry["step"])
            guard.beat(first)
            for loaded in loader:
                guard.beat(loaded.step)
                uploader.check()
                self.trail.note(loaded.step, loaded.examples)
                if problem := self._step(loaded):
                    self._look_into(problem, loaded, uploader)
                self.state.step += 1
                guard.beat(loaded.step)
                if self._due(resources.log_every_steps) and self.meter.has_steps:
                    self._log(loaded.step, logger, errands)
                every = resources.early_evaluation_every_steps
                if every and self.state.step % every == 0:
                    self._examine(logger)
                if self._due(resources.checkpoint_every_steps):
                    self._save(uploader)
                guard.beat(self.state.step)
        if worker.rank == 0:  # no model is exported without
            self.notices(Notice(f"audit: {(result := self._audit())}", {"q2a.audit": str(result)}))
        trained = self.strategy.trained()
        if trained is not None:
            export(job, trained, self.state, self.checkpoints)
        if worker.world_size > 1:
            distributed.barrier()

    def _step(self, loaded: LoadedStep[MicroBatch]) -> str | None:
        """Take a step with all workers; return its problem, if any, with which no weight changes.

        Raises:
            ValueError: all examples of the step were skipped for damage.
        """
        step = loaded.step
        batches = [
            batch if mine else replace(batch, weight=0.0)
            for mine, batch in zip(loaded.examples, loaded.micro_batches, strict=True)
        ]
        if not batches:  # a roll-back has left out all of it
            return None
        weight = sum(batch.weight for batch in batches)
        weight = add_over_workers({"weight": weight}, self.worker)["weight"]
        if not weight:
            raise ValueError(
                f"step {step} has nothing to learn from: all its examples were skipped. Raise "
                "examples_per_step, or repair the corpus."
            )
        waited = {"data_wait": loaded.seconds_waited}
        sums = self.strategy.backward(batches, self.worker.world_size / weight) | waited
        sums = add_over_workers(sums, self.worker)
        loss = sums["loss"] / weight
        problem = self.watch.problem(LOSS, loss)

        def accept(norm: float) -> bool:
            nonlocal problem
            problem = problem or self.watch.problem(NORM, norm)
            return problem is None

        norm = self.strategy.step(self.job.optimizer.rate(step), accept)
        if problem is None:
            self.watch.remember(loss, norm)
            self.meter.add(sums)
        return problem

    def _look_into(self, problem: str, loaded: LoadedStep[MicroBatch], uploader: Uploader) -> None:
        """Name the step's examples, then carry out the policy."""
        step, worker = loaded.step, self.worker
        bad = BadStep(
            step,
            problem,
            mine=[example for some in loaded.examples for example in some],
            everyone=[example for example in self.plan[step].tolist() if example >= 0],
        )
        culprits = find_culprits(bad, self.objective, self.strategy, worker)
        name_examples(bad, culprits, self.objective, worker, self.notices)
        _agree(step, worker)  # no worker stops before all have named their examples
        uploader.flush()  # a roll-back goes to the state that is said to be saved
        self.watch.react(step, problem, culprits)

    def _due(self, every: int) -> bool:
        return self.state.step % every == 0 or self.state.step == self.job.optimizer.steps

    def _log(self, step: int, logger: BufferedMetrics, errands: Errands) -> None:
        recipe, state = self.job.optimizer, self.state
        metrics = self.meter.read() | gpu_metrics(self.worker.device)
        metrics |= {"learning_rate": recipe.rate(step), NORM: self.watch.last_norm}
        if self.worker.rank == 0:
            state.metrics |= metrics
            state.history.append({"step": state.step, "metrics": metrics})
            logger.metrics(metrics, state.step)
            line = _in_a_line(state.step, recipe, metrics, self._time_left())
            errands(partial(reach, self.job.directory, line))

    def _time_left(self) -> str:
        done = self.state.step - self.first
        left = self.job.optimizer.steps - self.state.step
        return time_left(time.monotonic() - self.began, done, left)

    def _examine(self, logger: BufferedMetrics) -> None:
        """Evaluate early, on all workers alike; the first one shows the report."""
        if self.examiner is None:
            return
        step = self.state.step
        report = self.strategy.ask(self.examiner)
        metrics = {"held_out_loss": report.loss}
        self.state.metrics |= metrics
        if self.worker.rank == 0:
            self.state.held_out.append({"step": step, "metrics": metrics})
            logger.metrics(metrics, step)
            rows = [{"step": str(step), **row} for row in report.rows]
            text = f"held-out loss after step {step}: {report.loss:.3f}"
            self.notices(Notice(text, tables={"held_out_answers.json": rows}))

    def _save(self, uploader: Uploader) -> None:
        """Copy the current state, and upload it while training goes on."""
        uploader.flush()  # before another copy of the state is made
        self.trail.write_down(self.state.step)
        _agree(self.state.step, self.worker)  # every worker has written down its notes
        if self.worker.rank == 0:  # a state is never newer than the proof of what it learnt from
            self._audit()
        trained = self.strategy.trained()
        if trained is not None:
            self.state.window, self.state.watch = self.meter.window, self.watch.memory
            files = self.checkpoints.files_of(trained, self.state)
            uploader.submit(partial(self._upload, files, self.state.step))

    def _upload(self, files: Mapping[str, bytes], step: int) -> None:
        self.checkpoints.save(files, step)
        self.trail.forget_audited(step)

    def _audit(self) -> Audit:
        """Compare what all workers consumed since the last audit with the plan.

        Raises:
            AuditError: it differs.
        """
        state = self.state
        consumed = self.trail.of_all_workers(state.audited)
        plan = self.job.data.plan[: state.step]
        result = check_consumed(plan, consumed, self.plan, state.audited)
        state.audited = state.step
        return result


def _agree(step: int, worker: Worker) -> None:
    """Check that every worker stands at the same step.

    Raises:
        RuntimeError: another worker found another newest state.
    """
    total = add_over_workers({"step": step}, worker)["step"]
    if total != step * worker.world_size:
        raise RuntimeError(
            f"worker {worker.rank} is at step {step}, the mean of all is "
            f"{total / worker.world_size}: the store showed them different training states"
        )


def _leave_to_first(_: Notice) -> None:
    """Drop a notice that the first worker leaves for all."""


def _in_a_line(step: int, recipe: OptimizerRecipe, metrics: Mapping[str, float], left: str) -> str:
    return (
        f"step {step} of {recipe.steps}, {left}, then the export; loss {metrics['loss']:.3f}, "
        f"gradient norm {metrics['gradient_norm']:.2f}, "
        f"{metrics['audio_seconds_per_second']:.0f} s of audio a second, "
        f"{metrics['share_of_peak']:.0%} of peak"
    )
