import pytest

from data_contracts.jsonl import RecordError, from_jsonl, to_jsonl
from data_contracts.records import Turn


def test_jsonl_reads_back_what_was_written() -> None:
    records = [Turn(role="user", audio=("c1", "c2")), Turn(role="user", text="Zwei\nZeilen, ü")]

    text = to_jsonl(records)

    assert text.endswith("}\n")
    assert text.count("\n") == 2
    assert from_jsonl(text, Turn, "turns.jsonl") == records


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_only_a_newline_ends_a_line(character: str) -> None:
    records = [Turn(role="user", text=f"before{character}after")]

    assert from_jsonl(to_jsonl(records), Turn, "turns.jsonl") == records


def test_empty_lines_are_skipped_and_still_counted() -> None:
    text = '\n  \n{"role":"user"}\n\n{"role":"robot"}\n'

    with pytest.raises(RecordError) as caught:
        from_jsonl(text, Turn, "turns.jsonl")

    message = str(caught.value)
    assert message.startswith("turns.jsonl line 5 is not a Turn: role: Input should be 'system'")
    assert "(got 'robot')" in message
    assert message.endswith("Correct the line or remove it.")


@pytest.mark.parametrize("line", ["{", "[]", "null", '{"role":"user"} {"role":"user"}'])
def test_a_line_that_is_no_object_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(RecordError, match=r"turns\.jsonl line 1 is not a Turn: line: "):
        from_jsonl(line, Turn, "turns.jsonl")
