"""Contracts of clips: the rules for a manifest and for the corpus that is packed from it.

The columns come from `clip_tables.py`; severities are those of `conversation_contracts.py`.
"""

from typing import get_args

from data_contracts.audio_limits import MIN_RMS, MIN_SECONDS
from data_contracts.contract import Contract, Rule
from data_contracts.expectations import BETWEEN, IN_SET, NULL
from data_contracts.languages import LANGUAGES
from data_contracts.records import Split

MAX_CLIPPED_SHARE = 0.001
"""A loud master touches full scale now and then; one that is cut off stays there."""
CHARACTERS_PER_SECOND = (3.0, 24.0)
"""Speaking rates in alphabetic scripts; beyond them the text belongs to another recording."""


def _split_rules(contract: str) -> tuple[Rule, ...]:
    """Rules on splits that the manifest and the packed corpus share."""
    return (
        Rule(
            f"{contract}.split_is_known",
            "split",
            IN_SET,
            f"Use one of {', '.join(get_args(Split))}.",
            {"value_set": list(get_args(Split))},
        ),
        Rule(
            f"{contract}.phrase_stays_in_one_split",
            "phrase_leaks_into",
            NULL,
            "Give all rows of a phrase, in every language, the same split.",
        ),
        Rule(
            f"{contract}.recording_stays_in_one_split",
            "recording_leaks_into",
            NULL,
            "Give rows with the same bytes the same split, or remove all but one.",
        ),
        Rule(
            f"{contract}.speaker_stays_in_one_split",
            "speaker_leaks_into",
            NULL,
            "Split lid, digits and voice_chat by speaker, or take the target from the row: "
            "a known voice gives the answer away.",
        ),
    )


MANIFEST = Contract(
    name="manifest",
    id_column="id",
    columns=("id", "split"),
    nullable=(
        "language",
        "text_without_language",
        "empty_targets",
        "repeated_id",
        "phrase_leaks_into",
        "recording_leaks_into",
        "speaker_leaks_into",
    ),
    rules=(
        Rule(
            "manifest.id_is_unique",
            "repeated_id",
            NULL,
            "Rename the rows or remove the repeated ones: shards and predictions refer to ids.",
        ),
        Rule(
            "manifest.language_is_iso_639_1",
            "language",
            IN_SET,
            "Use a two-letter code (or yue) of data_contracts/languages.py, or null where nobody "
            "speaks.",
            {"value_set": sorted(LANGUAGES)},
        ),
        Rule(
            "manifest.text_has_language",
            "text_without_language",
            NULL,
            "Set `language` of the rows, or data.language for all that have none: without it no "
            "prompt names the language, and error rates fold no English spellings.",
            severity="report",
        ),
        Rule(
            "manifest.targets_have_text",
            "empty_targets",
            NULL,
            "Write the answer or remove the target: an empty answer teaches silence.",
        ),
        *_split_rules("manifest"),
    ),
)

SHARD_INDEX = Contract(
    name="shard_index",
    id_column="id",
    columns=("id", "split", "offset", "size", "seconds", "rms", "clipped_share"),
    nullable=(
        "too_long",
        "cut_answers",
        "characters_per_second",
        "duplicate_of",
        "repeated_id",
        "phrase_leaks_into",
        "recording_leaks_into",
        "speaker_leaks_into",
        "origin_leaks_into",
    ),
    rules=(
        Rule(
            "shard_index.id_is_unique",
            "repeated_id",
            NULL,
            "Pack the shards anew from a manifest with unique ids.",
        ),
        Rule(
            "shard_index.offset_is_positive",
            "offset",
            BETWEEN,
            "Write the index anew from the tars: bytes start after the 512 of a tar header.",
            {"min_value": 1},
        ),
        Rule(
            "shard_index.size_is_positive",
            "size",
            BETWEEN,
            "Write the index anew from the tars: an audio file is never empty.",
            {"min_value": 1},
        ),
        Rule(
            "shard_index.clip_has_an_audio_token",
            "seconds",
            BETWEEN,
            f"Reject recordings below {1000 * MIN_SECONDS:.1f} ms: they give no audio token.",
            {"min_value": MIN_SECONDS},
        ),
        Rule(
            "shard_index.duration_fits_the_policy",
            "too_long",
            NULL,
            "Split the recording, or pack anew with another ingest.long_audio or a larger "
            "ingest.max_seconds.",
        ),
        Rule(
            "shard_index.cut_clip_keeps_no_answer_about_the_whole",
            "cut_answers",
            NULL,
            "Reject the clip when packing or pack it in windows: its text goes on where its audio "
            "ends.",
        ),
        Rule(
            "shard_index.clip_is_not_silent",
            "rms",
            BETWEEN,
            "Reject the clip when packing, or find out why its audio is empty.",
            {"min_value": MIN_RMS},
        ),
        Rule(
            "shard_index.clip_is_not_clipped",
            "clipped_share",
            BETWEEN,
            "Listen to the examples: their peaks are cut off at full scale. Take the recording "
            "from a source with a lower level, or leave it out.",
            {"max_value": MAX_CLIPPED_SHARE},
            severity="report",
        ),
        Rule(
            "shard_index.text_fits_duration",
            "characters_per_second",
            BETWEEN,
            "Listen to the examples: the text probably belongs to another recording. Correct or "
            "remove it.",
            {
                "min_value": CHARACTERS_PER_SECOND[0],
                "max_value": CHARACTERS_PER_SECOND[1],
                "mostly": 0.98,
            },
            severity="report",
        ),
        Rule(
            "shard_index.audio_occurs_once",
            "duplicate_of",
            NULL,
            "Remove repeated rows from the manifest: each copy counts its recording again.",
            severity="report",
        ),
        *_split_rules("shard_index"),
        Rule(
            "shard_index.origin_stays_in_one_split",
            "origin_leaks_into",
            NULL,
            "Compose clips of one split only.",
        ),
    ),
)
