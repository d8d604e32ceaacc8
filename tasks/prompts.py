"""Every natural-language prompt of the project, and the answers that go with them.

Pre-training prompts are the published ones (Qwen2-Audio report, figure 2 and section 2) with
paraphrases; the first of a list is the published form, or the canonical one where none was
published, and the evaluation asks with it. Chat questions and spoken commands ask the same things
in conversation.
"""

from collections.abc import Mapping

from data_contracts.records import Task

COMPLETION_PROMPTS: Mapping[Task, tuple[str, ...]] = {
    "asr": (
        "Detect the language and recognize the speech: <|{language}|>",
        "Transcribe the speech: <|{language}|>",
        "Write down what is said: <|{language}|>",
    ),
    "s2tt": (
        "Detect the language and translate the speech into English: <|{language}|>",
        "Translate the speech into English: <|{language}|>",
    ),
    "lid": (
        "Detect the language of the speech:",
        "Name the spoken language in English:",
    ),
    "digits": (
        "Recognize the spoken digits:",
        "Write the digits that are spoken:",
    ),
    "sound": (
        "Classify the sound in English:",
        "Name the kind of sound in English:",
    ),
    "caption": (
        "Generate the caption in English:",
        "Describe the sound in English:",
    ),
    "vocal": (
        "Classify the human vocal sound to VocalSound in English:",
        "Name the human vocal sound in English:",
    ),
    "instrument": (
        "Recognize the instrument in English:",
        "Name the instrument in English:",
    ),
    "family": (
        "Recognize the instrument family in English:",
        "Name the instrument family in English:",
    ),
}

CHAT_QUESTIONS: Mapping[Task, tuple[str, ...]] = {
    "digits": ("Which digits do you hear?", "Write the digits you hear."),
    "sound": ("What kind of sound is this?", "What do you hear in this recording?"),
    "caption": ("Describe this recording.",),
    "vocal": ("Which sound does the person make?",),
    "instrument": ("Which instrument is this?", "What is playing?"),
    "family": ("Which family does this instrument belong to?",),
    "lid": ("Which language is this?", "What language is spoken here?"),
}

CHAT_ANSWERS: Mapping[Task, str] = {
    "digits": "The digits are {answer}.",
    "sound": "This is the sound of {answer}.",
    "caption": "{answer}",
    "vocal": "This is the sound of {answer}.",
    "instrument": "This is the {answer}.",
    "family": "It belongs to the {answer} family.",
    "lid": "The language is {answer}.",
}

TWO_CLIPS_QUESTION = "What are these two recordings?"
TWO_CLIPS_ANSWER = "The first is {first}, the second is {second}."

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


def completion_prompts(task: Task, language: str | None) -> tuple[str, ...]:
    """The prompts of a task, with the language tag filled in where the prompt has one."""
    return tuple(text.format(language=language) for text in COMPLETION_PROMPTS.get(task, ()))


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
