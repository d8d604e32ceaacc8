import hashlib
import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.digest import (
    UnstableValueError,
    canonical_json,
    digest_of,
    digest_of_bytes,
    digest_of_stream,
)
from data_contracts.records import Turn

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, width=32).filter(math.isfinite),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def test_the_canonical_form_sorts_keys_keeps_letters_and_has_no_spaces() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"ü": "日"}}

    assert canonical_json(value) == '{"a":{"ü":"日"},"b":[1,2.5,null,true]}'


@given(JSON)
def test_the_canonical_form_is_json_of_the_same_value(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


def test_the_order_of_keys_does_not_matter_and_the_order_of_items_does() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of([1, 2]) != digest_of([2, 1])


@pytest.mark.parametrize(
    ("one", "other"), [(1, "1"), (1, 1.0), (1, True), (None, "null"), ({}, []), ([1, 2], [12])]
)
def test_values_that_look_alike_have_different_digests(one: object, other: object) -> None:
    assert digest_of(one) != digest_of(other)


def test_a_tuple_and_a_record_are_their_list_and_their_fields() -> None:
    assert digest_of((1, 2)) == digest_of([1, 2])
    assert digest_of(Turn(role="user", audio=("c1",))) == digest_of(
        {"role": "user", "text": "", "audio": ["c1"]}
    )


def test_digests_are_sha256() -> None:
    assert digest_of("a") == hashlib.sha256(b'"a"').hexdigest()
    # The test vector of FIPS 180-2.
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of_bytes(b"abc") == digest_of_stream(io.BytesIO(b"abc")) == abc


@pytest.mark.parametrize("size", [0, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_stream_of_any_length_has_the_digest_of_its_bytes(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    assert digest_of_stream(io.BytesIO(data)) == hashlib.sha256(data).hexdigest()


def test_a_stream_is_read_from_where_it_stands() -> None:
    stream = io.BytesIO(b"skipped abc")
    stream.seek(8)

    assert digest_of_stream(stream) == digest_of_bytes(b"abc")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"rate": math.nan}, r"\$\.rate is nan"),
        ([1, -math.inf], r"\$\[1\] is -inf"),
        ({"data": {"path": Path("/tmp")}}, r"\$\.data\.path is a PosixPath"),
        ({1, 2}, r"\$ is a set"),
        (b"bytes", r"\$ is a bytes"),
        (object(), r"\$ is a object"),
        ({"by_rank": {0: "a"}}, r"\$\.by_rank has the key 0 of type int"),
    ],
)
def test_a_value_without_a_stable_form_is_refused_with_its_place(
    value: object, message: str
) -> None:
    with pytest.raises(UnstableValueError, match=message):
        digest_of(value)
