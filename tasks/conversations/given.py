"""What users give as a whole: dialogues of their own, and pairs of a better and a worse answer."""

from data_contracts.answer_records import PreferencePair
from data_contracts.records import Conversation, PackedClip, Turn
from tasks.conversations.task_table import CONVERSATION

GIVEN = "given"
"""Ranker of pairs that came with the data: whoever wrote the rows preferred."""


def given_conversation(clip: PackedClip) -> Conversation:
    """Return the user's own dialogue of a clip."""
    turns = list(clip.conversation)
    first = next((i for i, turn in enumerate(turns) if turn.role == "user"), None)
    if first is not None and not any(turn.audio for turn in turns):
        turns[first] = turns[first].model_copy(update={"audio": (clip.id,)})
    asked_in_words = any(turn.role == "user" and turn.text for turn in turns)
    return Conversation(
        id=f"{clip.id}/{CONVERSATION}",
        format="chat",
        turns=tuple(turns),
        task=CONVERSATION,
        mode="audio_analysis" if asked_in_words else "voice_chat",
        split=clip.split,
    )


def given_pair(clip: PackedClip) -> PreferencePair:
    """Return the pair of a clip that has a worse answer: one wins by 1, whatever they say.

    Raises:
        ValueError: the clip has no worse answer.
    """
    if clip.rejected is None:
        raise ValueError(f"clip {clip.id!r} has no `rejected`: it is no pair")
    conversation = given_conversation(clip)
    return PreferencePair(
        id=clip.id,
        prompt=conversation.model_copy(update={"turns": conversation.prompt}),
        chosen=conversation.answer,
        rejected=clip.rejected,
        chosen_score=1,
        rejected_score=0,
        ranker=GIVEN,
        split=clip.split,
    )


def preferred(pair: PreferencePair) -> Conversation:
    """Return the prompt of a pair with its better answer."""
    turns = (*pair.prompt.turns, Turn(role="assistant", text=pair.chosen))
    return pair.prompt.model_copy(update={"turns": turns})
