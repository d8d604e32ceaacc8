"""Describes an exported checkpoint as an MLflow model, so that MLflow can load a registered one.

`mlflow.pyfunc.load_model` reads the file `MLmodel`; the module that it names there loads the rest.
"""

import json
import platform
from pathlib import Path

import yaml

MLMODEL = "MLmodel"
_EXAMPLE = "input_example.json"
LOADER = "tasks.evaluation.mlflow_loader"
"""Module of this package that loads the checkpoint; MLflow calls its `_load_pyfunc`."""
COLUMNS = ("audio", "question")
"""Columns of a question: the path or URL of a recording, and a text about it."""
MAX_NEW_TOKENS = 256
"""Longest answer where the caller names none."""


def write_mlflow_model(directory: Path) -> None:
    """Describe the checkpoint in `directory`: who loads it, its questions, answers and settings."""
    inputs = [{"type": "string", "name": name, "required": True} for name in COLUMNS]
    settings = [
        {"name": "max_new_tokens", "type": "long", "default": MAX_NEW_TOKENS, "shape": None},
        {"name": "format", "type": "string", "default": "chat", "shape": None},
    ]
    description = {
        "flavors": {
            "python_function": {
                "loader_module": LOADER,
                "python_version": platform.python_version(),
            }
        },
        "signature": {
            "inputs": json.dumps(inputs),
            "outputs": json.dumps([{"type": "string", "required": True}]),
            "params": json.dumps(settings),
        },
        "saved_input_example_info": {
            "artifact_path": _EXAMPLE,
            "type": "dataframe",
            "pandas_orient": "split",
        },
    }
    example = {"columns": list(COLUMNS), "data": [["recording.wav", "What is said?"]]}
    (directory / MLMODEL).write_text(yaml.safe_dump(description), encoding="utf-8")
    (directory / _EXAMPLE).write_text(json.dumps(example), encoding="utf-8")
