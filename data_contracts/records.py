"""The records that pass between stages. Every JSONL line in the store is one of these."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data_contracts.languages import LANGUAGES

TaskName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""Name of a task. Tasks are an open set: tasks/conversations/task_table.py says what they are."""
Split = Literal["train", "dev", "test"]
Role = Literal["system", "user", "assistant"]
Mode = Literal["voice_chat", "audio_analysis"]
LongAudioPolicy = Literal[
    "reject",  # a recording longer than the encoder hears at once is not packed
    "cut",  # only its beginning is packed
    "windows",  # it is packed whole, and the encoder hears one window after the other
]
NonEmpty = Annotated[str, Field(min_length=1)]
OneLine = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""Text without control characters, for messages, logs and file names."""
Text = Annotated[str, Field(max_length=10_000)]
"""Text about some minutes of audio: a longer one is a whole document by mistake. The bound also
refuses half a surrogate pair, which no file could hold.
"""


def _is_none(value: object) -> bool:
    return value is None


class Record(BaseModel):
    """Base of every record: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Turn(Record):
    """One message: clips first, then text, as ChatML renders them.

    `audio` holds clip ids. An assistant turn has text and no clips.
    """

    role: Role
    text: str = ""
    audio: tuple[str, ...] = ()


class Clip(Record):
    """One recording of a manifest: where its bytes are and what is known about it.

    A user's row may give `task` and `text` instead of `targets`, the short form for one task, or a
    `conversation`.
    """

    id: OneLine
    audio: OneLine
    """Path relative to the manifest, absolute path or fsspec URL."""
    begin_byte: int = Field(0, ge=0)
    num_bytes: int | None = Field(None, ge=1)
    """Range of the recording's bytes where `audio` is a container, such as a tar or an Arrow file.
    No name inside is given, so that a container's names never become paths."""
    encoding: Literal["base64"] | None = Field(None, exclude_if=_is_none)
    """Spelling of these bytes where they stand in a text, such as a JSON file."""
    cell: tuple[OneLine, int] | None = Field(None, exclude_if=_is_none)
    """Column and row of the bytes where `audio` is a Parquet file."""
    begin_seconds: float = Field(0, ge=0, le=1e6)
    end_seconds: float | None = Field(None, gt=0, le=1e6)
    """Part of the recording that this row is about; None: to its end."""
    targets: dict[TaskName, Text] = Field(default_factory=dict)
    """Right answer for each task that this recording serves."""
    question: Text | None = None
    """Question with its choices, one a line, where a target is "choice"."""
    conversation: tuple[Turn, ...] = ()
    """Whole dialogue to fine-tune on. Its turns name the clips that are heard in them; where none
    does, this recording is heard in the first user turn."""
    rejected: Text | None = Field(None, exclude_if=_is_none)
    """Answer that is worse than the last one of `conversation`: the two are a preference pair."""
    language: Text | None = None
    """ISO 639-1 code of the speech; None where nobody speaks, or where it is unknown."""
    target_language: str = "en"
    """ISO 639-1 code of the translation, where a target is "s2tt"."""
    speaker: Text | None = None
    split: Split = "train"
    phrase: Text | None = None
    """Leak key: rows with the same phrase (and its translations) belong to one split."""
    kind: Literal["speech", "digit", "sound", "note", "question", "command"] = "speech"
    source: Text = "user"
    license: Text = "unknown"
    seconds: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Length of the whole recording, where it is known: one that ends earlier is damaged."""
    sha256: str | None = None
    """Digest of the audio file; with it the ledger need not read every file to know the input."""

    @model_validator(mode="before")
    @classmethod
    def _accept_short_form(cls, row: object) -> object:
        if isinstance(row, dict) and isinstance(row.get("task"), str) and "targets" not in row:
            rest = {key: value for key, value in row.items() if key not in ("task", "text")}
            return {**rest, "targets": {row["task"]: row.get("text", "")}}
        if isinstance(row, dict) and not row.keys() & {"targets", "conversation"}:
            raise ValueError("give task and text, targets, or a conversation")
        return row

    @field_validator("target_language")
    @classmethod
    def _known(cls, code: str) -> str:
        if code not in LANGUAGES:
            raise ValueError("use a code of data_contracts/languages.py")
        return code

    @model_validator(mode="after")
    def _complete(self) -> "Clip":
        if "choice" in self.targets and not self.question:
            raise ValueError("the target choice needs a question that lists the choices")
        if self.end_seconds is not None and self.end_seconds <= self.begin_seconds:
            raise ValueError(
                f"begin_seconds {self.begin_seconds} is not before end_seconds {self.end_seconds}"
            )
        return self

    @model_validator(mode="after")
    def _is_worse_than_the_answer(self) -> "Clip":
        if self.rejected is None:
            return self
        if not (self.conversation and self.conversation[-1].role == "assistant"):
            raise ValueError(
                "rejected needs a conversation that ends with the assistant's preferred answer"
            )
        if self.rejected.strip() in ("", self.conversation[-1].text.strip()):
            raise ValueError(
                "rejected is empty or the preferred answer itself: give another answer"
            )
        return self


class Conversation(Record):
    """One training or evaluation example.

    `format` "completion" is the pre-training form: one user turn (audio, then a prompt) and one
    answer, without ChatML. `format` "chat" is ChatML with any number of turns.
    """

    id: NonEmpty
    format: Literal["completion", "chat"]
    turns: tuple[Turn, ...]
    task: str
    """Name of a task, or of a mixed one such as "spoken_command"."""
    mode: Mode | None = None
    split: Split = "train"

    @property
    def clip_ids(self) -> tuple[str, ...]:
        """Ids of the clips of all turns, in the order in which they are heard."""
        return tuple(clip for turn in self.turns for clip in turn.audio)

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """Turns before the last answer."""
        return self.turns[:-1] if self.turns[-1].role == "assistant" else self.turns

    @property
    def answer(self) -> str:
        """Text of the last turn, which must be the assistant's.

        Raises:
            ValueError: it is another's.
        """
        if self.turns[-1].role != "assistant":
            raise ValueError(
                f"conversation {self.id!r} ends with {self.turns[-1].role!r}: no answer"
            )
        return self.turns[-1].text


class SourceFile(Record):
    """A file that a clip was made of, as it was read, and the part of it that was taken."""

    audio: str
    """Path relative to the manifest's folder where the file lies below it, else the full URL."""
    sha256: str
    """Digest of the bytes that were read, which are those of the range where there is one."""
    begin_byte: int = 0
    num_bytes: int | None = None
    """Range of bytes, where the file is a container; None: all."""
    encoding: Literal["base64"] | None = Field(None, exclude_if=_is_none)
    """Spelling of the bytes in the file; the digest is that of what they spell."""
    cell: tuple[OneLine, int] | None = Field(None, exclude_if=_is_none)
    """Column and row of the bytes, where the file is a Parquet file."""
    begin_seconds: float = 0
    end_seconds: float | None = None
    """Part of the recording; None: to its end."""


class PackedClip(Record):
    """One row of the shard index: location of a clip's bytes, and the clip's labels."""

    id: NonEmpty
    shard: NonEmpty
    offset: int
    """Byte offset of the audio file inside the (uncompressed) tar."""
    size: int
    """Size of the audio file in bytes."""
    num_samples: int
    """Number of samples at 16 kHz."""
    audio_tokens: int = 0
    """Tokens of the language model's sequence that the clip takes, 25 a second."""
    cut_seconds: float = 0.0
    """Seconds left out at the end of the recording, or of the parts of a composition."""
    sha256: str
    """Digest of the audio file's bytes."""
    rms: float
    """Root mean square of the samples, full scale is 1."""
    clipped_share: float = 0.0
    """Share of the samples that are at full scale, where what is louder was cut off."""
    targets: dict[TaskName, str]
    question: str | None = None
    conversation: tuple[Turn, ...] = ()
    rejected: str | None = Field(None, exclude_if=_is_none)
    """Worse answer to `conversation`; files of corpora without pairs do not name it."""
    language: str | None
    target_language: str = "en"
    speaker: str | None
    split: Split
    phrase: str | None
    kind: str
    source: str
    license: str
    origin: tuple[str, ...]
    """Manifest ids that this clip was made of: its own, or those of a composition's parts."""
    sources: tuple[SourceFile, ...] = ()
    """File of each of them, in the same order. `license` is theirs together."""


class ShardSummary(Record):
    """First line of a shard's sidecar: identity of the shard, and totals of its content."""

    shard: NonEmpty
    """Key of the tar."""
    size: int
    """Size of the tar in bytes."""
    sha256: str
    """Digest of the tar."""
    clips: int
    """Number of the next lines of the sidecar, which are rows of the index."""
    rejected: int
    """Number of lines after those, which are records that were not packed."""
    seconds: float
    """Length of all clips together."""
    audio_tokens: int
    rows_sha256: str
    """Digest of all lines after this one."""


def answers_about_the_whole(clip: Clip | PackedClip, about_the_whole: Collection[str]) -> str:
    """Name the labels that would be wrong if the recording ended earlier, "" where there are none.

    Args:
        about_the_whole: tasks whose answers account for all that is heard, not for a part of it.
    """
    tasks = [task for task in clip.targets if task in about_the_whole]
    return ", ".join(tasks + ["conversation"] * bool(clip.conversation))


class LongAudio(Record):
    """Treatment of recordings that last longer than the encoder hears at once, in a corpus."""

    policy: LongAudioPolicy
    max_seconds: float
    """Longest clip that the corpus may have."""
    long_clips: int
    """Number of clips that are heard in several windows."""
    cut_clips: int
    cut_seconds: float
    """Seconds left out of all clips together."""


class Rejected(Record):
    """A record that was not packed, and why. Nothing is dropped without one."""

    id: str
    reason: str
    detail: str
