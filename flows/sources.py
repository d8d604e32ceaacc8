"""Data from outside the store that stages read, identified by content: recordings, weights."""

from functools import partial
from pathlib import Path

from flows.config import PipelineConfig
from flows.profile_files import ConfigError
from flows.stage import Digest, Source
from infra.checkpoint_location import checkpoint_location
from infra.registry import Registry
from infra.settings import read_settings
from model.checkpoints.adapters import base_of, is_adapter
from tasks.ingest import check_source
from tasks.initial_model.build import WeightSource, weights_digest
from tasks.sources.manifest import source_digest


def open_recordings(config: PipelineConfig, _: Digest) -> Source:
    """Open the recordings that ingest packs."""
    return Source(source_digest(config.data), config.data, partial(check_source, config.data))


def open_weights(config: PipelineConfig, digest: Digest) -> Source | None:
    """Open the weights that the run starts from; None where it starts from scratch."""
    if config.weights is None:
        return None
    return _opened(config.weights, digest)


def located(config: PipelineConfig) -> PipelineConfig:
    """Replace the names of registered versions, and of the hub, by where their files are now.

    An adapter in the place of a checkpoint becomes the checkpoint that it names and the adapter.

    Raises:
        UsageError: there is no such version or snapshot.
    """
    if config.weights is None:
        return config
    folders = {name: _location(url) for name, url in config.weights.folders.items()}
    released = folders.get("released", "")
    if "adapter" not in folders and "://" not in released and is_adapter(Path(released)):
        base = base_of(Path(released))
        if base is None:
            raise ConfigError(
                f"weights.released is {released!r}, an adapter that names no base: give the "
                "checkpoint that it was made for as weights.released, and this as weights.adapter"
            )
        folders |= {"released": _location(base), "adapter": released}
    return config.model_copy(update={"weights": WeightSource.model_validate(folders)})


def open_checkpoint(location: str, digest: Digest) -> Source:
    """Open a finished checkpoint that lies outside the store."""
    return _opened(WeightSource(released=_location(location)), digest)


def _location(name: str) -> str:
    """Return the folder or URL that a name means; a path stays as it is."""
    if Path(name).is_absolute():
        return name
    registry = Registry(read_settings().resolved_tracking_uri)
    return checkpoint_location(name, registry.location)


def _opened(weights: WeightSource, digest: Digest) -> Source:
    """Identify weights by content. No contract is checked: every tensor is, when it is loaded."""
    return Source(weights_digest(weights, digest), weights, list)
