"""Contracts of conversations, pairs, training and predictions, and the list of all contracts.

The columns come from `conversation_tables.py`. "stop" rules end the run (`enforce`); "report" rules
are for people, because real sources have some rows that break them and still teach.
"""

from typing import get_args

from data_contracts.clip_contracts import MANIFEST, SHARD_INDEX
from data_contracts.contract import Contract, Rule
from data_contracts.expectations import (
    BETWEEN,
    CONTAINS,
    IN_SET,
    INCREASING,
    MATCHES,
    NULL,
    UNIQUE,
)
from data_contracts.records import Mode

DIALOGUES = Contract(
    name="dialogues",
    id_column="id",
    columns=("id", "mode", "roles", "num_clips"),
    nullable=("unknown_audio", "empty_answers", "held_out_prompt"),
    rules=(
        Rule("dialogues.id_is_unique", "id", UNIQUE, "Rename or remove the repeated rows."),
        Rule(
            "dialogues.roles_alternate",
            "roles",
            MATCHES,
            "Order the turns: at most one system turn, then user and assistant in turn, "
            "the assistant last.",
            {"regex": r"^(?:system )?(?:user assistant )*user assistant$"},
        ),
        Rule(
            "dialogues.has_audio",
            "num_clips",
            BETWEEN,
            "Give at least one user turn a clip; conversations without audio are not supported.",
            {"min_value": 1},
        ),
        Rule(
            "dialogues.audio_is_known",
            "unknown_audio",
            NULL,
            "Refer to ids of the shard index; a clip that was rejected can't be used.",
        ),
        Rule(
            "dialogues.answers_have_text",
            "empty_answers",
            NULL,
            "Write the answer or remove the conversation.",
        ),
        Rule(
            "dialogues.held_out_prompts_are_for_evaluation",
            "held_out_prompt",
            NULL,
            "Ask in other words: the task keeps these for evaluation (held_out in tasks.json).",
        ),
        Rule(
            "dialogues.both_modes_occur",
            "mode",
            CONTAINS,
            "Add conversations of the missing mode: the model learns to distinguish both.",
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
        Rule("pairs.id_is_unique", "id", UNIQUE, "Rename or remove the repeated pairs."),
        Rule(
            "pairs.prompt_ends_with_user",
            "last_role",
            IN_SET,
            "Cut the prompt after the user's last turn: both answers continue it.",
            {"value_set": ["user"]},
        ),
        Rule(
            "pairs.chosen_differs_from_rejected",
            "same_answer",
            NULL,
            "Drop the pair: equal answers have no preference.",
        ),
        Rule(
            "pairs.margin_is_positive",
            "margin",
            BETWEEN,
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
            IN_SET,
            "Resume the evaluation for missing answers (0); remove repeated ones (2 or more).",
            {"value_set": [1]},
        ),
        Rule(
            "predictions.item_is_known",
            "unknown_item",
            NULL,
            "Evaluate the suites that these predictions were made for, or predict anew.",
        ),
        Rule(
            "predictions.score_is_finite",
            "strange_score",
            NULL,
            "Correct the metric: an infinite or undefined score makes the mean meaningless.",
        ),
    ),
)

TRAINING_METRICS = ("loss", "gradient_norm", "learning_rate")
"""Metrics that every training logs."""

TRAINING = Contract(
    name="training",
    id_column="step",
    columns=("step", *TRAINING_METRICS),
    nullable=(),
    rules=(
        Rule(
            "training.step_increases",
            "step",
            INCREASING,
            "Two runs wrote this history: rebuild the artifact.",
            {"strictly": True},
        ),
        *(
            Rule(
                f"training.{column}_is_finite",
                column,
                BETWEEN,
                "The model did not train: lower the learning rate or look at the step's examples.",
                {"min_value": 0, "max_value": 1e6},
            )
            for column in TRAINING_METRICS
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
