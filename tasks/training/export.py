"""Writes the end of a training: its last state, and the whole model with proof that it is equal."""

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from model.checkpoints.adapters import save_adapter
from model.checkpoints.checkpoint import save_checkpoint
from model.checkpoints.parity import measure_parity
from model.tuning import merge_adapters
from tasks.training.checkpoints.folder import Checkpoints
from tasks.training.job import ADAPTER, CHECKPOINT, FINAL_STATE, PARITY, TrainingJob
from tasks.training.mlflow_model import write_mlflow_model
from tasks.training.state import Trained, TrainingState
from tasks.training.strategies.strategy import restore_parameters


def export(
    job: TrainingJob, trained: Trained, state: TrainingState, checkpoints: Checkpoints
) -> None:
    """Write the state and the whole model, put together from what began and what was trained.

    Where low-rank adapters and the projector are all that was trained, they are written by
    themselves too, as peft reads them.

    Raises:
        ParityError: the export answers otherwise than the trained model.
    """
    checkpoints.write(checkpoints.files_of(trained, state), FINAL_STATE)
    model, processor = job.open_initial()
    restore_parameters(model, trained["parameters"])
    job.scratch.mkdir(parents=True, exist_ok=True)
    if job.start.tuning.is_adapter:
        with TemporaryDirectory(dir=job.scratch) as folder:
            save_adapter(Path(folder), model)
            checkpoints.patient.upload(Path(folder), ADAPTER)
    merge_adapters(model)
    with TemporaryDirectory(dir=job.scratch) as folder:
        save_checkpoint(Path(folder), model, processor)
        write_mlflow_model(Path(folder))
        parity = measure_parity(model, processor, Path(folder))
        checkpoints.patient.upload(Path(folder), CHECKPOINT)
    checkpoints.patient.write_bytes(PARITY, json.dumps(asdict(parity), indent=2).encode())
