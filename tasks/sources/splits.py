"""Makes train, dev and test of a source in which no row names a split.

What a model could remember never lies in two splits: rows with the same recording, phrase, sentence
or conversation stay together, and so do those of one voice where there are enough voices. Groups
are drawn by the hashes of their ids, for each combination of tasks by itself: the same rows always
give the same splits, and every task with enough of them is tested.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from data_contracts.records import Clip, Record, Rejected, Split
from data_contracts.split_leaks import SPLIT_ORDER, SPLITS
from tasks.sources.row_groups import Numbers, RowGroups, RowKeys

_MOST_OVER = 2
"""How often its share a split may get where no smaller group is there. More voices are needed
otherwise: one of ten in a split that should have a twentieth of the rows is enough."""
_LEAST, _MANY = 2, 10
"""Rows that a split gets at least, where there are so many groups: of one no interval is known."""
_DRAWN: tuple[Split, ...] = ("test", "dev")
"""Splits that are filled, in this order; what is left is train."""


def _add_up(shares: dict[Split, float]) -> dict[Split, float]:
    if abs((total := sum(shares.values())) - 1) > 1e-6:
        raise ValueError(f"the shares add up to {total:g}; they have to be 1 together")
    return shares


Shares = Annotated[dict[Split, Annotated[float, Field(ge=0, le=1)]], AfterValidator(_add_up)]
DEFAULT_SHARES: dict[Split, float] = {"train": 0.9, "dev": 0.05, "test": 0.05}


class SplitSummary(Record):
    """How the rows of a source were divided: a file of the corpus."""

    by: Literal["speaker", "content", "nothing"]
    """`speaker`: no voice, sentence or recording is in two splits. `content`: no sentence or
    recording is. `nothing`: there are too few groups to divide, and all rows are train."""
    shares: dict[Split, float]
    """What was asked for."""
    groups: int
    """Number of groups that were not divided."""
    rows: dict[Split, int]

    def __str__(self) -> str:
        if self.by == "nothing":
            return (
                f"no row names a split, and all {self.rows['train']} are train: as groups that "
                f"share a recording, sentence or voice they are {self.groups}, too few to divide. "
                "Add recordings, or name a `split` in each row"
            )
        counts = ", ".join(f"{number} {split}" for split, number in self.rows.items())
        return (
            f"no row names a split: made {counts} by {self.by}, of {self.groups} groups. To divide "
            "otherwise name a `split` in each row, or set the shares with data.splits"
        )


@dataclass(frozen=True)
class MadeSplits:
    """Split of each recording of a source, in the order of its rows."""

    ranks: NDArray[np.int8]
    """[recordings]: indices into `SPLITS`."""
    summary: SplitSummary

    def given_to(self, rows: Iterable[Clip | Rejected]) -> Iterator[Clip | Rejected]:
        """Yield the same rows with their splits."""
        ranks = iter(self.ranks.tolist())
        for row in rows:
            if isinstance(row, Rejected):
                yield row
            else:
                yield row.model_copy(update={"split": SPLITS[next(ranks)]})


def make_splits(clips: Iterable[Clip], shares: dict[Split, float]) -> MadeSplits | None:
    """Divide recordings, which are not held; None where one names a split, or train is all."""
    if shares.get("train") == 1:
        return None
    rows = RowKeys()
    for clip in clips:
        if "split" in clip.model_fields_set:
            return None
        rows.add(clip)
    by, groups, ranks = _divided(rows, shares)
    counts = np.bincount(ranks, minlength=len(SPLITS)).tolist()
    by_split = dict(zip(SPLITS, counts, strict=True))
    return MadeSplits(ranks, SplitSummary(by=by, shares=shares, groups=len(groups), rows=by_split))


def _divided(
    rows: RowKeys, shares: dict[Split, float]
) -> tuple[Literal["speaker", "content", "nothing"], RowGroups, NDArray[np.int8]]:
    """Divide by the strictest level that gives enough groups."""
    for level, edges in rows.levels():
        groups = RowGroups.of(rows, edges)
        if (ranks := _drawn(groups, shares, _MOST_OVER)) is not None:
            return level, groups, ranks
    if (ranks := _drawn(groups, shares, np.inf)) is not None:
        return "content", groups, ranks
    return "nothing", groups, np.zeros(len(groups.of_row), np.int8)


def _drawn(
    groups: RowGroups, shares: dict[Split, float], most_over: float
) -> NDArray[np.int8] | None:
    """Return the split of each row; None where the groups are too few or too large.

    Args:
        most_over: how often its share a split may get where no smaller group is there.
    """
    ranks = np.zeros(len(groups), np.int8)
    order = groups.hashes.argsort(kind="stable")
    least = sum(share > 0 for share in shares.values())
    for tasks in np.unique(groups.tasks):
        members = order[groups.tasks[order] == tasks]
        for split in _DRAWN:
            share = shares.get(split, 0)
            if not share or len(members) < least:
                continue
            least = _LEAST if len(members) >= _MANY else 1
            wanted = max(least, round(share * int(groups.sizes[members].sum())))
            free = members[ranks[members] == 0]
            if not (chosen := _fill(groups.sizes[free], wanted, most_over)):
                return None
            ranks[free[chosen]] = SPLIT_ORDER[split]
    return ranks[groups.of_row] if ranks.any() else None


def _fill(sizes: Numbers, wanted: int, most_over: float) -> list[int]:
    """Return the first groups that have `wanted` rows together; if all are larger, the smallest."""
    chosen, room = [], wanted
    for number, size in enumerate(sizes.tolist()):
        if size <= room:
            chosen.append(number)
            room -= size
        if room == 0:
            break
    if chosen or not len(sizes):
        return chosen
    smallest = int(sizes.argmin())
    return [smallest] if sizes[smallest] <= most_over * wanted else []
