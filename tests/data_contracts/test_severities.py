"""Which rules stop a run, and which only ask for attention."""

from data_contracts.conversation_contracts import CONTRACTS
from data_contracts.hygiene import HYGIENE

RULES = [rule for contract in (*CONTRACTS, HYGIENE) for rule in contract.all_rules]
REPORTED = {
    "dialogues.both_modes_occur",
    "hygiene.no_clipped",
    "hygiene.no_mostly_silent",
    "hygiene.no_noisy",
    "hygiene.no_odd_level",
    "hygiene.no_odd_speaking_rate",
    "hygiene.no_other_language",
    "hygiene.no_repeated_audio",
    "hygiene.no_shared_question",
    "hygiene.no_similar_text",
    "hygiene.no_tolerated_leak",
    "hygiene.no_wrong_script",
    "manifest.text_has_language",
    "shard_index.audio_occurs_once",
    "shard_index.clip_is_not_clipped",
    "shard_index.text_fits_duration",
}


def test_every_rule_stops_a_run_but_those_that_need_an_ear_or_a_second_look() -> None:
    severities = {rule.name: rule.severity for rule in RULES}
    assert {name for name, severity in severities.items() if severity == "report"} == REPORTED
    assert {severities[name] for name in severities.keys() - REPORTED} == {"stop"}
    assert {"hygiene.no_audio_leak", "hygiene.no_text_leak"} < severities.keys()


def test_a_tolerated_share_of_bad_rows_never_stops_a_run() -> None:
    """A rule that one bad row may break unnoticed is no rule to rely on."""
    tolerant = {rule.name for rule in RULES if "mostly" in rule.arguments}
    assert tolerant == {"shard_index.text_fits_duration"}
    assert tolerant < REPORTED
