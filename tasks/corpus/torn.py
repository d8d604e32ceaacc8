"""Conversations that lost one of their recordings: half of what was heard can't be answered."""

from collections.abc import Iterable, Iterator

from data_contracts.records import PackedClip, Rejected


def torn_conversations(
    packed: Iterable[PackedClip], left_out: Iterable[Rejected]
) -> Iterator[Rejected]:
    """Reject the clips whose conversations name another clip that was rejected.

    Args:
        packed: all clips of the corpus.
        left_out: what was rejected before.
    """
    reasons = {row.id: row.reason for row in left_out}
    if not reasons:
        return
    for clip in packed:
        named = {name for turn in clip.conversation for name in turn.audio}
        if clip.id not in reasons and (lost := sorted(named & reasons.keys())):
            yield Rejected(
                id=clip.id,
                reason="missing_part",
                detail=f"its conversation names {lost[0]!r}, which was rejected: "
                f"{reasons[lost[0]]}. Repair that recording, or leave the conversation out",
            )
