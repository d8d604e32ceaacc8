"""The contracts: what must hold for each table that passes between stages.

The columns come from `tables.py`. "stop" rules end the run (`contract.enforce`); "report" rules
are for people, because real sources hold some clips that break them and still teach.
"""

from typing import get_args

from data_contracts.contract import Contract, Rule
from data_contracts.languages import LANGUAGES
from data_contracts.records import MIN_SECONDS, Mode, Split

# The names are Great Expectations'.
_UNIQUE = "expect_column_values_to_be_unique"
_NULL = "expect_column_values_to_be_null"
_IN_SET = "expect_column_values_to_be_in_set"
_BETWEEN = "expect_column_values_to_be_between"
_MATCHES = "expect_column_values_to_match_regex"
_CONTAINS = "expect_column_distinct_values_to_contain_set"

MIN_RMS = 1e-4
"""-80 dB of full scale: three steps of a 16-bit recording, that is, silence."""
CHARACTERS_PER_SECOND = (3.0, 24.0)
"""What people speak in alphabetic scripts; beyond it the text is of another recording."""


def _split_rules(contract: str) -> tuple[Rule, ...]:
    """Known splits, and nothing in two of them, for the manifest and for what is packed of it."""
    return (
        Rule(
            f"{contract}.split_is_known",
            "split",
            _IN_SET,
            f"Use one of {', '.join(get_args(Split))}.",
            {"value_set": list(get_args(Split))},
        ),
        Rule(
            f"{contract}.phrase_stays_in_one_split",
            "phrase_leaks_into",
            _NULL,
            "Give all rows of a phrase, in every language, one split.",
        ),
        Rule(
            f"{contract}.recording_stays_in_one_split",
            "recording_leaks_into",
            _NULL,
            "Give rows with the same bytes one split, or remove all but one.",
        ),
        Rule(
            f"{contract}.speaker_stays_in_one_split",
            "speaker_leaks_into",
            _NULL,
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
        "phrase_leaks_into",
        "recording_leaks_into",
        "speaker_leaks_into",
    ),
    rules=(
        Rule(
            "manifest.id_is_unique",
            "id",
            _UNIQUE,
            "Rename the rows or remove the repeated ones: shards and predictions refer to ids.",
        ),
        Rule(
            "manifest.language_is_iso_639_1",
            "language",
            _IN_SET,
            "Use a two-letter code (or yue) of data_contracts/languages.py, or null where nobody "
            "speaks.",
            {"value_set": sorted(LANGUAGES)},
        ),
        Rule(
            "manifest.text_has_language",
            "text_without_language",
            _NULL,
            "Set `language` of every row with an asr or s2tt target: prompts and scoring depend on "
            "it. In a plain folder, put the recordings below one that is named like `en`.",
        ),
        Rule(
            "manifest.targets_have_text",
            "empty_targets",
            _NULL,
            "Write the answer or remove the target: an empty answer teaches silence.",
        ),
        *_split_rules("manifest"),
    ),
)

SHARD_INDEX = Contract(
    name="shard_index",
    id_column="id",
    columns=("id", "split", "offset", "size", "seconds", "peak", "rms"),
    nullable=(
        "too_long",
        "cut_answers",
        "characters_per_second",
        "duplicate_of",
        "phrase_leaks_into",
        "recording_leaks_into",
        "speaker_leaks_into",
        "origin_leaks_into",
    ),
    rules=(
        Rule(
            "shard_index.id_is_unique",
            "id",
            _UNIQUE,
            "Pack the shards anew from a manifest with unique ids.",
        ),
        Rule(
            "shard_index.offset_is_positive",
            "offset",
            _BETWEEN,
            "Write the index anew from the tars: bytes start after the 512 of a tar header.",
            {"min_value": 1},
        ),
        Rule(
            "shard_index.size_is_positive",
            "size",
            _BETWEEN,
            "Write the index anew from the tars: an audio file is never empty.",
            {"min_value": 1},
        ),
        Rule(
            "shard_index.clip_has_an_audio_token",
            "seconds",
            _BETWEEN,
            f"Reject recordings below {1000 * MIN_SECONDS:.1f} ms: they can't be heard.",
            {"min_value": MIN_SECONDS},
        ),
        Rule(
            "shard_index.duration_fits_the_policy",
            "too_long",
            _NULL,
            "Split the recording, or pack anew with another ingest.long_audio or a larger "
            "ingest.max_seconds.",
        ),
        Rule(
            "shard_index.cut_clip_keeps_no_answer_about_the_whole",
            "cut_answers",
            _NULL,
            "Reject the clip when packing or pack it in windows: its text goes on where its audio "
            "ends.",
        ),
        Rule(
            "shard_index.clip_is_not_silent",
            "rms",
            _BETWEEN,
            "Reject the clip when packing, or find out why its audio is empty.",
            {"min_value": MIN_RMS},
        ),
        Rule(
            "shard_index.clip_is_not_clipped",
            "peak",
            _BETWEEN,
            "Lower the level of the source before packing: samples over full scale are cut off.",
            {"max_value": 1.0},
            severity="report",
        ),
        Rule(
            "shard_index.text_fits_duration",
            "characters_per_second",
            _BETWEEN,
            "Listen to the examples: the text is probably of another take. Correct or remove it.",
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
            _NULL,
            "Remove repeated rows from the manifest: each counts its recording once more.",
            severity="report",
        ),
        *_split_rules("shard_index"),
        Rule(
            "shard_index.origin_stays_in_one_split",
            "origin_leaks_into",
            _NULL,
            "Compose clips of one split only.",
        ),
    ),
)

DIALOGUES = Contract(
    name="dialogues",
    id_column="id",
    columns=("id", "mode", "roles", "num_clips"),
    nullable=("unknown_audio", "empty_answers", "held_out_prompt"),
    rules=(
        Rule("dialogues.id_is_unique", "id", _UNIQUE, "Rename or remove the repeated rows."),
        Rule(
            "dialogues.roles_alternate",
            "roles",
            _MATCHES,
            "Order the turns: at most one system turn, then user and assistant in turn, "
            "the assistant last.",
            {"regex": r"^(?:system )?(?:user assistant )*user assistant$"},
        ),
        Rule(
            "dialogues.has_audio",
            "num_clips",
            _BETWEEN,
            "Give at least one user turn a clip; conversations without audio are not for here.",
            {"min_value": 1},
        ),
        Rule(
            "dialogues.audio_is_known",
            "unknown_audio",
            _NULL,
            "Refer to ids of the shard index; a clip that was rejected can't be used.",
        ),
        Rule(
            "dialogues.answers_have_text",
            "empty_answers",
            _NULL,
            "Write the answer or remove the conversation.",
        ),
        Rule(
            "dialogues.held_out_prompts_are_for_evaluation",
            "held_out_prompt",
            _NULL,
            "Ask in other words: tasks/prompts.py keeps these to measure unseen ones.",
        ),
        Rule(
            "dialogues.both_modes_occur",
            "mode",
            _CONTAINS,
            "Add conversations of the missing mode: the model is to tell them apart unprompted.",
            {"value_set": list(get_args(Mode))},
            severity="report",
        ),
    ),
)

PAIRS = Contract(
    name="pairs",
    id_column="id",
    columns=("id", "last_role", "margin"),
    nullable=("same_answer",),
    rules=(
        Rule("pairs.id_is_unique", "id", _UNIQUE, "Rename or remove the repeated pairs."),
        Rule(
            "pairs.prompt_ends_with_user",
            "last_role",
            _IN_SET,
            "Cut the prompt after the user's last turn: both answers continue it.",
            {"value_set": ["user"]},
        ),
        Rule(
            "pairs.chosen_differs_from_rejected",
            "same_answer",
            _NULL,
            "Drop the pair: equal answers have no preference.",
        ),
        Rule(
            "pairs.margin_is_positive",
            "margin",
            _BETWEEN,
            "Swap the answers or drop the tie: the chosen one must score higher.",
            {"min_value": 0, "strict_min": True},
        ),
    ),
)

PREDICTIONS = Contract(
    name="predictions",
    id_column="answer",
    columns=("answer", "count"),
    nullable=("unknown_item", "strange_score"),
    rules=(
        Rule(
            "predictions.one_for_each_item_and_checkpoint",
            "count",
            _IN_SET,
            "Resume the evaluation for missing answers (0); remove repeated ones (2 or more).",
            {"value_set": [1]},
        ),
        Rule(
            "predictions.item_is_known",
            "unknown_item",
            _NULL,
            "Evaluate the suites that these predictions were made for, or predict anew.",
        ),
        Rule(
            "predictions.score_is_finite",
            "strange_score",
            _NULL,
            "Correct the metric: an infinite or undefined score makes the mean meaningless.",
        ),
    ),
)

TRAINING = Contract(
    name="training",
    id_column="step",
    columns=("step", "loss", "gradient_norm", "learning_rate"),
    nullable=(),
    rules=(
        Rule(
            "training.step_increases",
            "step",
            "expect_column_values_to_be_increasing",
            "Two runs wrote this history: rebuild the artifact.",
            {"strictly": True},
        ),
        *(
            Rule(
                f"training.{column}_is_finite",
                column,
                _BETWEEN,
                "The model did not train: lower the learning rate or look at the step's examples.",
                {"min_value": 0, "max_value": 1e6},
            )
            for column in ("loss", "gradient_norm", "learning_rate")
        ),
    ),
)

CONTRACTS: tuple[Contract, ...] = (
    MANIFEST,
    SHARD_INDEX,
    DIALOGUES,
    PAIRS,
    PREDICTIONS,
    TRAINING,
)
