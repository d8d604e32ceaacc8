"""Data from outside the store that stages read, identified by content: recordings, weights."""

from functools import partial

from flows.config import PipelineConfig
from flows.stage import Digest, Source
from tasks.ingest import check_source
from tasks.initial_model.build import weights_digest
from tasks.sources.manifest import source_digest


def open_recordings(config: PipelineConfig, _: Digest) -> Source:
    """Open the recordings that ingest packs."""
    return Source(source_digest(config.data), config.data, partial(check_source, config.data))


def open_weights(config: PipelineConfig, digest: Digest) -> Source | None:
    """Open the weights that pre-training starts from; None where it starts from scratch.

    There is no contract to check: every tensor is checked when it is loaded.
    """
    if config.weights is None:
        return None
    return Source(weights_digest(config.weights, digest), config.weights, list)
