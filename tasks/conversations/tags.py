"""The predecessor's hierarchical tags in place of sentences, for the comparison of the two.

Order: start, language of the audio, task, language of the text, timestamps, output (Qwen-Audio,
arXiv 2311.07919, section 3.2; spelt as its released evaluation does).
"""

import re
from collections.abc import Mapping

from data_contracts.records import PackedClip, Task

_KEYWORDS = "<|startofanalysis|><|{heard}|><|keyword|><|en|><|notimestamps|>"
_TRANSCRIPT = "<|startoftranscript|><|{language}|>"
_FORMS: Mapping[Task, str] = {
    "asr": _TRANSCRIPT + "<|transcribe|><|{language}|><|notimestamps|><|wo_itn|>",
    "s2tt": _TRANSCRIPT + "<|translate|><|{target}|><|notimestamps|><|itn|>",
    # A digit string is a transcript with numbers in figures (inverse text normalisation).
    "digits": _TRANSCRIPT + "<|transcribe|><|{language}|><|notimestamps|><|itn|>",
    "caption": "<|startofanalysis|><|unknown|><|caption|><|en|><|notimestamps|><|{caption}|>",
    "ser": _KEYWORDS.format(heard="en") + "<|emotion_recognition|>",
    "vocal": _KEYWORDS.format(heard="en") + "<|vocal_classification|>",
    "sound": _KEYWORDS.format(heard="unknown") + "<|event|>",
    "instrument": _KEYWORDS.format(heard="unknown") + "<|instrument|>",
    "choice": "<|startofanalysis|><|en|><|question|>{question}<|answer|>",
    # The predecessor has no tags for these two: the last ones are ours.
    "family": _KEYWORDS.format(heard="unknown") + "<|instrument_family|>",
    "lid": _KEYWORDS.format(heard="unknown") + "<|language_identification|>",
}
_CAPTION_STYLES = {
    "clotho": "caption_clotho",
    "audiocaps": "caption_audiocaps",
    "musiccaps": "music_description",
}


def tag_prompt(task: Task, clip: PackedClip) -> str:
    """The tags that ask a clip for a task."""
    return _FORMS[task].format(
        language=clip.language,
        target=clip.target_language,
        caption=_CAPTION_STYLES.get(clip.source, "caption_plain"),
        question=clip.question,
    )


def tag_names() -> tuple[str, ...]:
    """The tags that do not depend on the clip's language, without their brackets."""
    found = {name for form in _FORMS.values() for name in re.findall(r"<\|([a-z_]+)\|>", form)}
    return tuple(sorted(found | set(_CAPTION_STYLES.values()) | {"caption_plain"}))
