"""AIR-Bench: questions about speech, sound and music, for evaluation only (Yang et al., 2024)."""

from collections.abc import Iterator
from typing import Any

from data_contracts.records import Rejected, Turn
from infra.retry import error_text
from tasks.sources.corpus import Corpus, Row
from tasks.sources.corpus_files import CorpusError, CorpusFiles

INSTRUCTION = (
    "Choose the most suitable answer from options A, B, C, and D to respond the question in next "
    "line, you may only choose A or B or C or D."
)
"""Instruction of the published evaluation."""


def _rows(files: CorpusFiles, split: str) -> Iterator[Row | Rejected]:
    key = f"{split}/{split}_meta.json"
    items = files.json(key)
    if not isinstance(items, list):
        raise CorpusError(f"{files.location(key)} is no list of questions. Download it again.")
    for number, item in enumerate(items):
        try:
            if not isinstance(item, dict):
                raise TypeError(f"{item!r:.50} is no question with its answer")
            yield _choice(files, item) if split == "Foundation" else _chat(files, item)
        except (KeyError, TypeError, ValueError) as error:
            detail = error_text(error)
            yield Rejected(id=f"{split}/{number}", reason="invalid_row", detail=detail)


def _choice(files: CorpusFiles, item: dict[str, Any]) -> Row:
    """Row of a question with at least two choices; published names of tasks are kept, misspelt or
    not.
    """
    letters = {letter: item.get(f"choice_{letter.lower()}") for letter in "ABCD"}
    choices = {letter: str(text) for letter, text in letters.items() if text is not None}
    answers = [letter for letter, text in choices.items() if text == str(item["answer_gt"])]
    if len(choices) < 2:
        raise ValueError(f"of choice_a to choice_d it has only {list(choices.values())}")
    if not answers:
        raise ValueError(f"the answer {item['answer_gt']!r} is none of {list(choices.values())}")
    listed = {letter: f"{letter}. {text}" for letter, text in choices.items()}
    path = str(item["path"])
    if item["task_name"] == "Audio_Grounding":  # the list says .wav, the files are .flac
        path = path.removesuffix(".wav").removesuffix(".flac") + ".flac"
    return {
        "id": f"Foundation/{item['uniq_id']}",
        "audio": files.location(f"Foundation/{item['task_name']}_{item['dataset_name']}/{path}"),
        "question": "\n".join((INSTRUCTION, str(item["question"]), *listed.values())),
        "targets": {"choice": listed[answers[0]]},
    }


def _chat(files: CorpusFiles, item: dict[str, Any]) -> Row:
    question = Turn(role="user", text=str(item["question"]))
    answer = Turn(role="assistant", text=str(item["answer_gt"]))
    folder = f"Chat/{item['task_name']}_{item['dataset_name']}"
    return {
        "id": f"Chat/{item['uniq_id']}",
        "audio": files.location(f"{folder}/{item['path']}"),
        "conversation": (question, answer),
    }


CORPUS = Corpus(
    name="air_bench",
    title="AIR-Bench",
    license="Apache-2.0 (questions); each recording has its own corpus's",
    homepage="https://github.com/OFA-Sys/AIR-Bench",
    tasks=("choice", "conversation"),
    languages=(),
    splits={"Foundation": "test", "Chat": "test"},
    layout="{Foundation,Chat}/{Foundation,Chat}_meta.json (path, question, choice_a to choice_d, "
    "answer_gt, task_name, dataset_name, uniq_id) and SPLIT/TASK_DATASET/PATH. Chat answers want a "
    "judge: they become conversations, in no suite",
    rows=_rows,
)
