"""The predecessor's hierarchical tags in place of sentences, for the comparison of the two.

Order: start, language of the audio, task, language of the text, timestamps, output (Qwen-Audio,
arXiv 2311.07919, section 3.2; spelt as its released evaluation does).
"""

import re

from data_contracts.records import PackedClip
from tasks.conversations.placeholders import CAPTION_STYLES, PLAIN_CAPTION, fill_tags
from tasks.conversations.task_table import TaskTable


def tag_prompt(tasks: TaskTable, task: str, clip: PackedClip) -> str:
    """Return the tags that ask a clip for a task."""
    return fill_tags(_form(tasks, task), clip)


def tag_names(tasks: TaskTable) -> tuple[str, ...]:
    """Return the tags that do not depend on the clip's language, without their brackets."""
    forms = (_form(tasks, task) for task in tasks.asked_in_words)
    names = {name for form in forms for name in re.findall(r"<\|([a-z0-9_]+)\|>", form)}
    return tuple(sorted(names | set(CAPTION_STYLES.values()) | {PLAIN_CAPTION}))


def _form(tasks: TaskTable, task: str) -> str:
    """Tags with placeholders; a task that declares none has a keyword of its own name."""
    keyword = f"<|startofanalysis|><|unknown|><|keyword|><|en|><|notimestamps|><|{task}|>"
    return tasks[task].tags or keyword
