"""Keeps the training states of one stage in the store.

A state is a folder of files and then `position.json`, which has their digests and its own: without
it, or with a file that differs, it is no state. Such a one is skipped for the one before and
reported.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from data_contracts.digest import digest_of_bytes
from data_contracts.sealed_json import SEAL, seal, unseal
from infra.compute.keep_checkpoints import KeepCheckpoints
from infra.retry import error_text
from infra.storage.retrying_store import RetryingStore
from infra.storage.store import Store
from tasks.training.checkpoints.local_files import DamagedStateError, LocalFiles
from tasks.training.checkpoints.retention import Saved, steps_to_keep
from tasks.training.messages.notices import Notice, Notify
from tasks.training.state import HISTORY, Trained, TrainingState, from_files, to_files

FINAL_STATE = "training_state"
"""Folder of the last state: where only the export of a finished training is damaged, that alone
is made again."""
POSITION = "position.json"
DAMAGED_TAG = "q2a.checkpoint.damaged."
_STATES = "scratch/states"
_UNSEALED = {
    "step", "window", "metrics", "held_out", "watch", "identity", "saved_at", "sha256"
}  # fmt: skip
"""Keys of a `position.json` of the time before it had a digest of its own."""


class StateMismatchError(ValueError):
    """A saved state was made by another recipe, plan or tokenizer."""


@dataclass(frozen=True)
class Checkpoints:
    """Writes, reads and deletes training states."""

    patient: RetryingStore
    """The artifact's folder."""
    identity: Mapping[str, str]
    """Digests of what the states belong to, by name: recipe, plan, tokenizer."""
    keep: KeepCheckpoints
    notify: Notify
    scratch: Path
    """A local folder, the same for all workers of a node."""

    @property
    def directory(self) -> Store:
        """Return the artifact's folder."""
        return self.patient.store

    @property
    def local(self) -> LocalFiles:
        """Return the files as they are on this machine."""
        return LocalFiles(self.directory, self.scratch)

    def files_of(self, trained: Trained, state: TrainingState) -> dict[str, bytes]:
        """Make the files of a state, `position.json` the last. Nothing in them changes later."""
        files = to_files(trained, state)
        position = {
            "step": state.step,
            "window": state.window,
            "metrics": state.metrics,
            "held_out": state.held_out,
            "watch": state.watch,
            "audited": state.audited,
            "identity": dict(self.identity),
            "saved_at": time.time(),
            "sha256": {name: digest_of_bytes(data) for name, data in files.items()},
        }
        return files | {POSITION: json.dumps(seal(position)).encode()}

    def write(self, files: Mapping[str, bytes], folder: str) -> None:
        """Upload the files of a state, `position.json` last, each with retries."""
        for name in sorted(files, key=lambda name: name == POSITION):
            self.patient.write_bytes(f"{folder}/{name}", files[name])

    def save(self, files: Mapping[str, bytes], step: int) -> None:
        """Upload a state, and delete those that no rule wants any more."""
        self.write(files, f"{_STATES}/{step:08d}")
        try:
            self._delete_unwanted(step)
        except Exception as error:  # the state is there, and the next one deletes them too
            self.patient.progress(f"old training states stay for now ({error_text(error)})")

    def load_newest(self) -> tuple[TrainingState, Trained] | None:
        """Read the newest whole state, or None where there is none.

        Its tensors lie in files, until every worker has copied its share: then call
        `local.forget()`.

        Raises:
            StateMismatchError: it belongs to another recipe, plan or tokenizer.
        """
        finished = [FINAL_STATE] if self.directory.exists(f"{FINAL_STATE}/{POSITION}") else []
        for folder in (*finished, *sorted(self._folders(), reverse=True)):
            try:
                position, files, trained = self._read_whole(folder)
            except DamagedStateError as damage:
                step = folder.rpartition("/")[2]
                self.notify(
                    Notice(
                        f"training state {folder} is skipped for the one before: {damage}",
                        {f"{DAMAGED_TAG}{step}": str(damage)},
                    )
                )
                continue
            self._check_identity(folder, position["identity"])
            state = TrainingState(
                step=position["step"],
                history=json.loads(files[HISTORY].read_text()),
                window=position["window"],
                metrics=position["metrics"],
                held_out=position["held_out"],
                watch=position["watch"],
                # A final state is written only after the audit of all steps.
                audited=position["step"] if folder == FINAL_STATE else position.get("audited", 0),
            )
            return state, trained
        return None

    def _check_identity(self, folder: str, saved: Mapping[str, str]) -> None:
        for name, digest in self.identity.items():
            if saved.get(name) != digest:
                raise StateMismatchError(
                    f"training state {self.directory.path(folder)} was made with another {name}: "
                    f"its sha256 is {saved.get(name)}, this run's {digest}. Delete {_STATES} there "
                    "to begin again, or run with what made it."
                )

    def _read_whole(self, folder: str) -> tuple[dict[str, Any], dict[str, Path], Trained]:
        if not self.directory.exists(f"{folder}/{POSITION}"):
            raise DamagedStateError(f"it is partial, without {POSITION}")
        try:
            position, is_sealed = self._read_position(folder)
            files = {
                name: self.local.fetch(f"{folder}/{name}", sha256)
                for name, sha256 in position["sha256"].items()
            }
            if not is_sealed:
                self._believe(folder, position, json.loads(files[HISTORY].read_text()))
            return position, files, from_files(files)
        except (ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
            raise DamagedStateError(f"it can't be read ({error_text(error)})") from error

    def _read_position(self, folder: str) -> tuple[dict[str, Any], bool]:
        """Read the position of a state, and whether it has a digest, which then was compared.

        Raises:
            ValueError: it was changed, or is no position.
        """
        content = json.loads(self.directory.read_bytes(f"{folder}/{POSITION}"))
        if isinstance(content, dict) and content.keys() == _UNSEALED:
            return content, False
        return unseal(content), True

    def _believe(
        self, folder: str, position: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
    ) -> None:
        """Accept a position without a digest, so that a training of an earlier version goes on.

        Raises:
            DamagedStateError: its step is not the one that the other files tell.
        """
        name = folder.rpartition("/")[2]
        step = history[-1]["step"] if folder == FINAL_STATE else int(name)
        if position["step"] != step:
            raise DamagedStateError(f"{POSITION} says step {position['step']} instead of {step}")
        text = f"training state {folder} is of an earlier version: {POSITION} has no {SEAL}"
        self.notify(Notice(f"{text} and is believed"))

    def _folders(self) -> list[str]:
        """List the folders of all states, whole or not."""
        return sorted({key.rsplit("/", 1)[0] for key in self.directory.list_keys(_STATES)})

    def _delete_unwanted(self, step: int) -> None:
        """Delete positions first: what a kill leaves of a deletion is no state.

        Partial states go too, and those after `step`, the newest: training came back from there,
        or could not use them.
        """
        folders, saved = self._folders(), []
        for folder in folders:
            if self.directory.exists(f"{folder}/{POSITION}"):
                with suppress(ValueError, KeyError, TypeError):  # damaged, so it is no state
                    position, _ = self._read_position(folder)
                    saved.append(Saved(position["step"], position["saved_at"], position["metrics"]))
        reached = [state for state in saved if state.step <= step]
        kept = {f"{_STATES}/{kept:08d}" for kept in steps_to_keep(reached, self.keep)}
        for folder in folders:
            if folder not in kept:
                self.directory.delete(f"{folder}/{POSITION}")
                self.directory.delete(folder)
