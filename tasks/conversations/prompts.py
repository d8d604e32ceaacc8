"""Every natural-language prompt of the project, and the answers that go with them.

Canonical pre-training prompts are the published ones (Qwen2-Audio report, figure 2 and section 2)
where one was published. Training draws from the canonical prompt and its paraphrases; evaluation
asks with the canonical one, or with those that no training example has ever shown. Chat questions
and spoken commands ask the same things in conversation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from data_contracts.digest import digest_of
from data_contracts.languages import LANGUAGES
from data_contracts.records import PackedClip, Task
from tasks.conversations.tags import tag_prompt

PromptStyle = Literal[
    "natural",  # a sentence
    "tags",  # the predecessor's hierarchical tags
]
AskedWith = Literal[
    "canonical",
    "held_out",  # paraphrases that training never sees
    "tags",
]


@dataclass(frozen=True)
class Prompts:
    """The ways to ask for one task; `{...}` stands for what the clip says of itself."""

    canonical: str
    paraphrases: tuple[str, ...]
    held_out: tuple[str, ...]
    """For evaluation alone."""


COMPLETION_PROMPTS: Mapping[Task, Prompts] = {
    "asr": Prompts(
        "Detect the language and recognize the speech: <|{language}|>",
        ("Transcribe the speech: <|{language}|>", "Write down what is said: <|{language}|>"),
        ("Turn the speech into text: <|{language}|>", "What is said word for word? <|{language}|>"),
    ),
    "s2tt": Prompts(
        "Detect the language and translate the speech into {target}: <|{language}|>",
        (
            "Translate the speech into {target}: <|{language}|>",
            "Write what is said in {target}: <|{language}|>",
        ),
        (
            "Give a translation of the speech in {target}: <|{language}|>",
            "How would this be said in {target}? <|{language}|>",
        ),
    ),
    "lid": Prompts(
        "Detect the language of the speech:",
        ("Name the spoken language in English:", "Say which language is spoken:"),
        ("Identify the language that you hear:", "What language does the speaker use?"),
    ),
    "digits": Prompts(
        "Recognize the spoken digits:",
        ("Write the digits that are spoken:", "Transcribe the digits:"),
        ("Note down every digit that is said:", "What number is read out?"),
    ),
    "sound": Prompts(
        "Classify the sound in English:",
        ("Name the kind of sound in English:", "Label the sound with one category:"),
        ("State what makes this sound:", "To what class does the sound belong?"),
    ),
    "caption": Prompts(
        "Generate the caption in English:",
        ("Describe the sound in English:", "Summarize what can be heard in one sentence:"),
        ("Put into words what is going on in the audio:", "What does the recording contain?"),
    ),
    "vocal": Prompts(
        "Classify the human vocal sound to VocalSound in English:",
        ("Name the human vocal sound in English:", "Label the sound that the person makes:"),
        ("State which noise the voice makes:", "What does the person do with the voice?"),
    ),
    "ser": Prompts(
        "Recognize the emotion with keywords in English:",
        ("Name the emotion of the speaker in English:", "Label the emotion of the voice:"),
        ("Tell the mood of the speaker in one word:", "What feeling does the voice express?"),
    ),
    "instrument": Prompts(
        "Recognize the instrument in English:",
        ("Name the instrument in English:", "Label the instrument that plays:"),
        ("State what is being played:", "By which instrument is the note produced?"),
    ),
    "family": Prompts(
        "Recognize the instrument family in English:",
        ("Name the instrument family in English:", "Label the family of the instrument:"),
        ("State the group of instruments that this one is from:", "What sort of instrument is it?"),
    ),
    "choice": Prompts(
        "{question}",
        ("Listen to the audio and answer.\n{question}", "Answer about the audio:\n{question}"),
        ("Here is a question about the recording.\n{question}", "{question}\nYour choice:"),
    ),
}

CHAT_QUESTIONS: Mapping[Task, tuple[str, ...]] = {
    "digits": ("Which digits do you hear?", "Write the digits you hear."),
    "sound": ("What kind of sound is this?", "What do you hear in this recording?"),
    "caption": ("Describe this recording.",),
    "vocal": ("Which sound does the person make?",),
    "ser": ("How does the speaker feel?", "Which emotion do you hear in the voice?"),
    "instrument": ("Which instrument is this?", "What is playing?"),
    "family": ("Which family does this instrument belong to?",),
    "lid": ("Which language is this?", "What language is spoken here?"),
    "choice": ("{question}",),
}

CHAT_ANSWERS: Mapping[Task, str] = {
    "digits": "The digits are {answer}.",
    "sound": "This is the sound of {answer}.",
    "caption": "{answer}",
    "vocal": "This is the sound of {answer}.",
    "ser": "The emotion is {answer}.",
    "instrument": "This is the {answer}.",
    "family": "It belongs to the {answer} family.",
    "lid": "The language is {answer}.",
    "choice": "{answer}",
}

TWO_CLIPS_QUESTION = "What are these two recordings?"
TWO_CLIPS_ANSWER = "The first is {first}, the second is {second}."

_PUBLISHED_NAMES = {"zh": "Mandarin"}
"""Languages that the published prompts call otherwise than `LANGUAGES` does."""
_SPOKEN_COMMANDS: Mapping[str, Task] = {
    "what sound is this": "sound",
    "describe the sound": "caption",
    "tell me what you hear": "caption",
    "what instrument is playing": "instrument",
}
_PERSON_OR_ANIMAL = "is this a person or an animal"
_PERSON_OR_ANIMAL_ANSWERS = {
    "vocal": "It is a person.",
    "animal": "It is an animal.",
    "bird": "It is an animal.",
}


def training_prompts(
    task: Task, clip: PackedClip, style: PromptStyle = "natural"
) -> tuple[str, ...]:
    """The prompts that training asks a clip's task with; none where it is not asked in words."""
    if task not in COMPLETION_PROMPTS:
        return ()
    if style == "tags":
        return (tag_prompt(task, clip),)
    prompts = COMPLETION_PROMPTS[task]
    return tuple(_filled(text, clip) for text in (prompts.canonical, *prompts.paraphrases))


def evaluation_prompt(task: Task, clip: PackedClip, asked_with: AskedWith = "canonical") -> str:
    """The prompt that evaluation asks with; held-out ones take turns over the clips."""
    if asked_with == "tags":
        return tag_prompt(task, clip)
    prompts = COMPLETION_PROMPTS[task]
    if asked_with == "canonical":
        return _filled(prompts.canonical, clip)
    turn = int(digest_of(clip.id)[:8], 16)
    return _filled(prompts.held_out[turn % len(prompts.held_out)], clip)


def held_out_fragments() -> tuple[str, ...]:
    """What tells each held-out prompt from all others: its longest part without a placeholder."""
    texts = [text for prompts in COMPLETION_PROMPTS.values() for text in prompts.held_out]
    parts = (re.split(r"<\|\{\w+\}\|>|\{\w+\}", text) for text in texts)
    return tuple(max(found, key=len).strip() for found in parts)


def chat_question(task: Task, clip: PackedClip) -> str:
    """What the user writes below a clip."""
    questions = CHAT_QUESTIONS[task]
    return _filled(questions[len(clip.id) % len(questions)], clip)


def chat_answer(task: Task, answer: str) -> str:
    """The sentence in which the assistant gives a target."""
    return CHAT_ANSWERS[task].format(answer=answer)


def answer_to_command(phrase: str, targets: Mapping[Task, str]) -> str | None:
    """What the assistant should say when `phrase` is spoken over a sound with these targets.

    None where the command makes no sense for the sound.
    """
    if phrase == _PERSON_OR_ANIMAL:
        return _PERSON_OR_ANIMAL_ANSWERS.get(targets.get("sound", ""))
    task = _SPOKEN_COMMANDS.get(phrase)
    if task is None or task not in targets:
        return None
    return chat_answer(task, targets[task])


def _filled(text: str, clip: PackedClip) -> str:
    target = clip.target_language
    return text.format(
        language=clip.language,
        target=_PUBLISHED_NAMES.get(target, LANGUAGES[target]),
        question=clip.question,
    )
