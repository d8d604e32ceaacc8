"""Finds the checkpoint that a name means: a folder, a URL, a registered version, a hub id."""

import re
from collections.abc import Callable
from pathlib import Path

from data_contracts.errors import UsageError

_HUB_ID = re.compile(r"(?P<id>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w][\w./-]*))?")
_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.tiktoken", "*.model")
"""Files of a checkpoint; pickles are never read, so they are never downloaded."""


class CheckpointLocationError(UsageError, LookupError):
    """A name of a checkpoint leads nowhere."""


def checkpoint_location(name: str, registry: Callable[[str], str]) -> str:
    """Return the folder or URL of the checkpoint that `name` means.

    Args:
        name: a folder; a store's URL, such as s3://bucket/checkpoint; a registered version,
            models:/NAME@ALIAS or models:/NAME/NUMBER; or ORG/NAME[@REVISION] in the local cache of
            Hugging Face's hub, unless there is a folder of that name.
        registry: finds a registered version (`Registry.location`).

    Raises:
        CheckpointLocationError: there is no such folder, or no such snapshot in the cache.
        UsageError: `registry` has no such version.
    """
    if name.startswith("models:"):
        return registry(name)
    if "://" in name:
        return name
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder.absolute())
    if folder.is_file():
        raise CheckpointLocationError(
            f"{name!r} is a file; a checkpoint is a folder with config.json, weights and "
            "tokenizer. Give its folder."
        )
    if match := _HUB_ID.fullmatch(name):
        return _snapshot(match["id"], match["revision"])
    raise CheckpointLocationError(
        f"there is no folder {name!r}. Name a checkpoint by its folder, a URL such as "
        "s3://bucket/checkpoint, a registered version (models:/NAME@ALIAS), or ORG/NAME in the "
        "cache of Hugging Face's hub."
    )


def _snapshot(repository: str, revision: str | None) -> str:
    """Return the folder of a snapshot in the cache; download it where HF_HUB_OFFLINE is 0."""
    from huggingface_hub import constants, snapshot_download  # slow, and seldom needed

    try:
        return str(
            snapshot_download(
                repository,
                revision=revision,
                local_files_only=constants.HF_HUB_OFFLINE,
                allow_patterns=list(_FILES),
            )
        )
    except (OSError, ValueError) as error:  # of the cache, of the network, of the hub
        wanted = f"{repository}{f' at revision {revision}' if revision else ''}"
        command = f"hf download {repository}{f' --revision {revision}' if revision else ''}"
        raise CheckpointLocationError(
            f"there is no folder {repository!r}, and the cache {constants.HF_HUB_CACHE} has no "
            f"whole snapshot of {wanted} ({' '.join(str(error).split())[:300]}). Fetch it where "
            f"there is a network (`{command}`), or set HF_HUB_OFFLINE=0 to let this command do it."
        ) from error
