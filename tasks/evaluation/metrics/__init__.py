"""Metrics, from an answer to a number: normalisation of texts, and one entry for each metric.

Conventions are those of the published Qwen2-Audio evaluation: `<|...|>` tags are stripped,
transcripts pass Whisper's normalisers, corpus WER is total edits over total reference length,
translation is sacreBLEU, classification is the accuracy of the generated label.

`metric.py` says what a metric is, `table.py` lists the shipped ones; every other file holds a
family of them.
"""
