"""Synthetic speech: digits, questions with their answers, and spoken instructions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus_build.drafts import Draft
from corpus_build.encode import SYNTHETIC_SPEECH
from corpus_build.packages import HERE, Source, run
from corpus_build.splits import phrase_key, split_of_speaker

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Voice:
    """One synthetic speaker: the program, the name it knows the voice by, the usual tempo."""

    engine: str
    name: str
    tempo: float = 1.0

    @property
    def speaker(self) -> str:
        """Speaker id in the manifest, e.g. esp_en-us-m3."""
        short = {"espeak-ng": "esp", "flite": "fl", "festival": "fest"}[self.engine]
        return f"{short}_{self.name.replace('+', '-').lower()}"


@dataclass(frozen=True)
class Manner:
    """How a sentence is spoken: tempo and pitch relative to the voice's own."""

    tempo: float
    pitch: float


PLAIN = Manner(tempo=1.0, pitch=1.0)
DIGIT_MANNERS = (Manner(tempo=0.85, pitch=0.9), Manner(tempo=1.1, pitch=1.15))

# espeak-ng ignores a variant after "en-gb", so "en" stands in for it where a variant follows.
CONVERSATION_VOICES = (
    Voice("espeak-ng", "en-us"),
    Voice("espeak-ng", "en-gb"),
    Voice("espeak-ng", "en-us+m3"),
    Voice("espeak-ng", "en-us+f2"),
    Voice("espeak-ng", "en+f4"),
    Voice("espeak-ng", "en-gb-scotland"),
    Voice("espeak-ng", "en-us+f5"),
    Voice("espeak-ng", "en-gb-x-rp+m4"),
    Voice("espeak-ng", "en-029+m2"),
    Voice("flite", "kal16", tempo=0.85),
    Voice("flite", "awb"),
    Voice("flite", "rms"),
    Voice("flite", "slt"),
    Voice("festival", "cmu_us_slt_arctic_hts"),
)
# rms is the unseen voice of the conversations; unseen digits come from a real speaker.
DIGIT_VOICES = (
    *(voice for voice in CONVERSATION_VOICES if voice.name != "rms"),
    Voice("espeak-ng", "en-us+m7"),
    Voice("espeak-ng", "en-us+f3"),
    Voice("espeak-ng", "en+m1"),
    Voice("espeak-ng", "en-gb-x-gbclan+f1"),
    Voice("espeak-ng", "en-gb-x-gbcwmd+m5"),
    Voice("espeak-ng", "en-us-nyc+m6"),
    Voice("festival", "kal_diphone"),
    Voice("festival", "ked_diphone"),
)


def _command(voice: Voice, manner: Manner, text: str, script: Path, output: Path) -> list[str]:
    """Command line that speaks a text into a WAV file."""
    tempo = voice.tempo * manner.tempo
    if voice.engine == "espeak-ng":
        speed, pitch = round(165 * tempo), round(45 * manner.pitch**2)
        return ["espeak-ng", "-v", voice.name, "-s", str(speed), "-p", str(pitch),
                "-w", str(output), text]  # fmt: skip
    if voice.engine == "flite":
        return ["flite", "-voice", voice.name, "--setf", f"duration_stretch={1 / tempo:.3f}",
                "--setf", f"f0_shift={manner.pitch}", "-t", text, "-o", str(output)]  # fmt: skip
    # Festival offers no pitch that all its voices heed: the tempo has to do.
    setting = (
        f'(set! hts_engine_params (cons (list "-r" {tempo}) hts_engine_params))'
        if voice.name.endswith("_hts")
        else f"(Parameter.set 'Duration_Stretch {1 / tempo:.3f})"
    )
    script.write_text(text, encoding="utf-8")
    return ["text2wave", "-eval", f"(voice_{voice.name})", "-eval", setting,
            "-o", str(output), str(script)]  # fmt: skip


def _speak(voice: Voice, manner: Manner, text: str, output: Path) -> Path:
    """Render a sentence once; a later run finds the file."""
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = output.with_suffix(".partial.wav")
        run(_command(voice, manner, text, output.with_suffix(".txt"), partial))
        partial.rename(output)
    return output


def _draft(
    identifier: str,
    voice: Voice,
    source: Source,
    origin: Path,
    kind: str,
    targets: dict[str, str],
    phrase: str | None,
) -> Draft:
    return Draft(
        id=identifier,
        origin=origin,
        folder=f"{source.name}/{kind}",
        coding=SYNTHETIC_SPEECH,
        targets=targets,
        language="en",
        speaker=voice.speaker,
        split=split_of_speaker(voice.speaker),
        phrase=phrase,
        kind=kind,
        source=source.name,
        license=source.license,
    )


def digit_drafts(sources: dict[str, Source], work: Path) -> Iterator[Draft]:
    """Every digit by every digit voice in two manners."""
    for voice in DIGIT_VOICES:
        for digit, word in enumerate(DIGIT_WORDS):
            for number, manner in enumerate(DIGIT_MANNERS):
                identifier = f"digit-{voice.speaker}-{digit}-{number}"
                origin = _speak(voice, manner, word, work / "spoken" / f"{identifier}.wav")
                yield _draft(
                    identifier, voice, sources[voice.engine], origin,
                    "digit", {"digits": str(digit)}, None,
                )  # fmt: skip


def conversation_drafts(sources: dict[str, Source], work: Path) -> Iterator[Draft]:
    """Every question and every instruction by every conversation voice."""
    spoken = json.loads((HERE / "spoken.json").read_text(encoding="utf-8"))
    sentences = [
        ("question", question, {"asr": question, "voice_chat": fact["answer"]})
        for fact in spoken["facts"]
        for question in fact["questions"]
    ] + [("command", command, {"asr": command}) for command in spoken["commands"]]
    for voice in CONVERSATION_VOICES:
        for number, (kind, sentence, targets) in enumerate(sentences):
            identifier = f"{kind}-{voice.speaker}-{number:02d}"
            origin = _speak(voice, PLAIN, sentence, work / "spoken" / f"{identifier}.wav")
            yield _draft(
                identifier, voice, sources[voice.engine], origin,
                kind, targets, phrase_key(sentence),
            )  # fmt: skip
