"""Data from outside the store that stages read, identified by content: recordings, weights."""

from functools import partial

from flows.config import PipelineConfig
from flows.stage import Digest, Source
from tasks.ingest import check_source
from tasks.initial_model.build import WeightSource, weights_digest
from tasks.sources.manifest import source_digest


def open_recordings(config: PipelineConfig, _: Digest) -> Source:
    """Open the recordings that ingest packs."""
    return Source(source_digest(config.data), config.data, partial(check_source, config.data))


def open_weights(config: PipelineConfig, digest: Digest) -> Source | None:
    """Open the weights that the run starts from; None where it starts from scratch."""
    return None if config.weights is None else _opened(config.weights, digest)


def open_checkpoint(location: str, digest: Digest) -> Source:
    """Open a finished checkpoint that lies outside the store."""
    return _opened(WeightSource(released=location), digest)


def _opened(weights: WeightSource, digest: Digest) -> Source:
    """Identify weights by content. No contract is checked: every tensor is, when it is loaded."""
    return Source(weights_digest(weights, digest), weights, list)
