"""Held-out texts that occur in two splits: equal ones, and similar pairs."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_contracts.hygiene import Finding
from data_contracts.records import PackedClip
from data_contracts.split_leaks import SPLITS
from tasks.hygiene.disk_arrays import Parted
from tasks.hygiene.text import ASKED, TASKS, Texts, jaccard, shingles

_MOST_IN_BUCKET = 50
"""Distinct texts that share a band; more of them follow one formula and are not compared."""
_ROWS_AT_ONCE = 250_000
_PAIR = np.dtype([("key", "<u8"), ("near", "<i8"), ("far", "<i8")])
"""Indices of two texts in `Texts.sentences`, by a hash of both."""
_MIX = np.uint64(0xD6E8FEB86659FD93)
"""Odd, so that the order of a pair matters."""


class Rows(Protocol):
    """Rows of recordings by number."""

    def __getitem__(self, number: int, /) -> PackedClip: ...


def shared_texts(texts: Texts, rows: Rows, folder: Path, least: float) -> Iterator[Finding]:
    """Find sentences that are in two splits, equal or with a similarity of at least `least`.

    Args:
        folder: for the texts, partitioned by key; left to be deleted.
    """
    for part in _parted(texts.sentences, folder / "texts"):
        for sharing in _in_two_splits(part, part["rank"]):
            yield from _equal_texts(texts, rows, sharing)
    proposed = Parted(folder / "pairs", _PAIR, len(texts.sentences))
    for part in _parted(texts.bands, folder / "bands"):
        ranks = texts.sentences["rank"][part["sentence"]]
        for bucket in _in_two_splits(part, ranks):
            proposed.add(_proposed(texts.sentences, bucket["sentence"]))
    for part in proposed:
        _, first = np.unique(part["key"], return_index=True)  # mostly in several bands
        for pair in part[np.sort(first)]:
            near, far = texts.sentences[pair["near"]], texts.sentences[pair["far"]]
            if finding := _similar_texts(texts, rows, near, far, least):
                yield finding


def _parted(rows: NDArray[Any], folder: Path) -> Iterator[NDArray[Any]]:
    parted = Parted(folder, rows.dtype, len(rows))
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        parted.add(rows[start : start + _ROWS_AT_ONCE])
    return iter(parted)


def _in_two_splits(rows: NDArray[Any], ranks: NDArray[np.int8]) -> Iterator[NDArray[Any]]:
    """Rows of each key that is in more than one split, in their order."""
    if len(rows) == 0:
        return
    order = np.argsort(rows["key"], kind="stable")
    keys, ranks = rows["key"][order], ranks[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    ends = np.append(starts[1:], len(order))
    split = np.minimum.reduceat(ranks, starts) < np.maximum.reduceat(ranks, starts)
    for start, end in zip(starts[split], ends[split], strict=True):
        yield rows[order[start:end]]


def _equal_texts(texts: Texts, rows: Rows, sharing: NDArray[Any]) -> Iterator[Finding]:
    """A finding for every clip with a text that is nearer to training than the farthest."""
    far = sharing[np.argmax(sharing["rank"])]
    text, other = texts.text(far), rows[int(far["recording"])]
    for near in sharing[sharing["rank"] < far["rank"]]:
        if texts.text(near) == text:
            clip, task = rows[int(near["recording"])], TASKS[far["task"]]
            yield Finding(
                kind="shared_question" if task in ASKED else "text_leak",
                clip=clip.id,
                other=other.id,
                detail=f"{task} text {text!r} as {other.id!r}: {clip.split} and {other.split}",
                value=1.0,
            )


def _proposed(sentences: NDArray[Any], numbers: NDArray[np.int64]) -> NDArray[Any]:
    """Pairs of different texts in different splits, the one nearer to training first.

    The first recording of a text in a split represents all of them.
    """
    sharing = sentences[numbers]
    _, first = np.unique(sharing[["key", "rank"]], return_index=True)
    if len(np.unique(sharing["key"])) > _MOST_IN_BUCKET:
        return np.zeros(0, _PAIR)
    ordered = first[np.argsort(sharing["rank"][first], kind="stable")]
    one, other = ordered[np.array([*combinations(range(len(ordered)), 2)], int).reshape(-1, 2).T]
    keys, ranks = sharing["key"], sharing["rank"]
    apart = (ranks[one] != ranks[other]) & (keys[one] != keys[other])
    one, other = one[apart], other[apart]
    pairs = np.empty(len(one), _PAIR)
    pairs["key"] = keys[one] * _MIX + keys[other]
    pairs["near"], pairs["far"] = numbers[one], numbers[other]
    return pairs


def _similar_texts(
    texts: Texts, rows: Rows, near: NDArray[Any], far: NDArray[Any], least: float
) -> Finding | None:
    one, other = texts.text(near), texts.text(far)
    similarity = jaccard(shingles(one), shingles(other))
    if similarity < least:
        return None
    clip = rows[int(near["recording"])]
    return Finding(
        kind="similar_text",
        clip=clip.id,
        other=rows[int(far["recording"])].id,
        detail=f"{TASKS[near['task']]} texts {one!r} and {other!r} are {similarity:.0%} alike: "
        f"{SPLITS[near['rank']]} and {SPLITS[far['rank']]}",
        value=round(similarity, 4),
    )
