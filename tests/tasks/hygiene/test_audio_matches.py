"""Copies of real recordings are found in every form; recordings that are only alike are not."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.hygiene import fingerprint_search as search
from tasks.hygiene.fingerprint import (
    BYTES_PER_SECOND,
    HOP_SAMPLES,
    NUM_BITS,
    fingerprint,
    mel_powers,
)
from tasks.hygiene.fingerprint_search import MIN_HOPS, Fingerprints, Match, find_matches
from tasks.hygiene.inspect import HygieneRecipe
from tasks.hygiene.waveform import correlation
from tasks.recordings.codec import decode_audio, encode_audio
from tests.support.audio_copies import COPIES, delayed, draw, louder, manifest_rows, read

RECIPE = HygieneRecipe()
ROWS = manifest_rows()


def prints(waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [
        fingerprint(power)
        for start in range(0, len(waveforms), 64)
        for power in mel_powers(waveforms[start : start + 64])
    ]


def propose(waveforms: Sequence[np.ndarray]) -> list[Match]:
    return matches(prints(waveforms))


def matches(arrays: Sequence[np.ndarray]) -> list[Match]:
    with TemporaryDirectory() as folder:
        joined = Fingerprints.join(arrays)
        return [*find_matches(joined, Path(folder), RECIPE.max_bit_error, RECIPE.min_overlap)]


def same(waveforms: Sequence[np.ndarray]) -> set[tuple[int, int]]:
    """Pairs that count as one recording."""
    return {
        (match.first, match.second)
        for match in propose(waveforms)
        if correlation(waveforms[match.first], waveforms[match.second], match.offset * HOP_SAMPLES)
        >= RECIPE.min_correlation
    }


@pytest.fixture(scope="module")
def speech() -> list[np.ndarray]:
    rows = [row for row in ROWS if row["kind"] in ("speech", "sound") and row["seconds"] > 0.8]
    return [read(row) for row in draw(rows, 24, seed=1)]


@pytest.mark.parametrize("form", COPIES)
def test_a_copy_is_found_among_other_recordings(form: str, speech: list[np.ndarray]) -> None:
    copies = [COPIES[form](waveform) for waveform in speech]
    expected = {(i, i + len(speech)) for i in range(len(speech))}
    found = same([*speech, *copies])
    assert found <= expected
    assert len(found) >= len(speech) - 1  # Opus loses one; the drill measures the share


@pytest.mark.parametrize("form", COPIES)
def test_the_longer_keys_of_a_million_recordings_still_find_copies(
    form: str, speech: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "extra_bits", lambda _: 9)
    copies = [COPIES[form](waveform) for waveform in speech]
    expected = {(i, i + len(speech)) for i in range(len(speech))}
    found = same([*speech, *copies])
    assert found <= expected
    assert len(found) >= len(speech) - 3


def test_silence_is_in_no_index(tmp_path: Path) -> None:
    """Hours of it would all lie under one key, in the one part of the index that is in memory."""
    silent = fingerprint(mel_powers([np.zeros(16_000, np.float32) + 1e-9])[0])
    draw_from = np.random.default_rng(0)
    other = draw_from.integers(1, 1 << NUM_BITS, 100, dtype=np.uint32)
    joined = Fingerprints.join([silent, np.concatenate([silent, other, silent])])
    assert not silent.any()
    (part,) = search._index(joined, tmp_path)
    assert part["hop"].tolist() == list(range(2 * len(silent), 2 * len(silent) + 100))


def test_a_key_is_a_bit_longer_for_each_doubling_of_the_corpus() -> None:
    hours = 50 * 3600
    assert [search.extra_bits(n * hours) for n in (1, 3, 6, 1389, 520_000)] == [0, 1, 2, 9, 18]


@settings(max_examples=30, deadline=None)
@given(
    number=st.integers(0, 23),
    decibels=st.floats(-30, 6),
    seconds=st.floats(0, 0.3),
)
def test_level_and_offset_do_not_matter(
    number: int, decibels: float, seconds: float, speech: list[np.ndarray]
) -> None:
    copy = louder(delayed(speech[number], seconds), decibels)
    assert same([speech[number], copy]) == {(0, 1)}


def test_the_same_digit_twice_by_one_voice_is_two_recordings() -> None:
    rows = [row for row in ROWS if row["kind"] == "digit"]
    voices = {row["speaker"] for row in rows}
    twice = [
        [row for row in rows if row["speaker"] == voice and row["targets"] == {"digits": digit}]
        for voice in sorted(voices)
        for digit in "0123456789"
    ]
    pairs = [(read(takes[0]), read(takes[1])) for takes in twice if len(takes) == 2]
    assert len(pairs) >= 100
    assert [number for number, pair in enumerate(pairs) if same(pair)] == []


def test_notes_of_different_pitch_or_instrument_are_different_recordings() -> None:
    rows = [row for row in ROWS if row["kind"] == "note" and row["id"].endswith("-70")]
    assert len({row["id"] for row in rows}) > 200
    assert same([read(row) for row in rows]) == set()


def test_two_renditions_of_a_word_are_alike_in_bits_but_not_in_phase() -> None:
    """Why waveforms decide: a synthetic voice says a digit again, a little faster."""
    names = ("digit-esp_en-us-m7-1-0", "digit-esp_en-us-m7-1-1")
    first, second = (read(row) for name in names for row in ROWS if row["id"] == name)
    (match,) = propose([first, second])
    assert match.bit_error < RECIPE.max_bit_error
    assert correlation(first, second, match.offset * HOP_SAMPLES) < 0.5


def test_a_fingerprint_is_small_and_does_not_depend_on_the_level(speech: list[np.ndarray]) -> None:
    quiet = [waveform / 8 for waveform in speech]
    for loud, soft, waveform in zip(prints(speech), prints(quiet), speech, strict=True):
        assert loud.dtype == np.uint32
        assert np.array_equal(loud, soft)
        assert abs(loud.nbytes - BYTES_PER_SECOND * len(waveform) / 16_000) <= 4
    assert BYTES_PER_SECOND == 200


def test_a_fingerprint_does_not_depend_on_its_batch(speech: list[np.ndarray]) -> None:
    together = prints(speech)
    for waveform, bits in zip(speech, together, strict=True):
        assert np.array_equal(bits, prints([waveform])[0])


def test_a_recording_of_several_windows_is_fingerprinted_along_all_of_it() -> None:
    long = np.random.default_rng(0).normal(0, 0.1, 70 * 16_000).astype(np.float32)
    (whole,) = prints([long])
    assert len(whole) == 70 * 50
    (tail,) = prints([long[62 * 16_000 :]])
    wrong = np.bitwise_count(whole[62 * 50 + 20 :] ^ tail[20:]).mean() / NUM_BITS
    assert wrong < 0.02


def by_hand(first: np.ndarray, second: np.ndarray, offset: int) -> float:
    """Bit error rate through strings of digits."""
    pairs = [
        (int(a), int(second[hop - offset]))
        for hop, a in enumerate(first)
        if 0 <= hop - offset < len(second)
    ]
    wrong = sum(
        x != y
        for a, b in pairs
        for x, y in zip(f"{a:0{NUM_BITS}b}", f"{b:0{NUM_BITS}b}", strict=True)
    )
    return wrong / (NUM_BITS * len(pairs))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_index_finds_what_comparing_all_pairs_at_all_offsets_finds(seed: int) -> None:
    draw_from = np.random.default_rng(seed)
    original = draw_from.integers(0, 1 << NUM_BITS, 40, dtype=np.uint32)
    others = [
        draw_from.integers(0, 1 << NUM_BITS, int(n), dtype=np.uint32)
        for n in draw_from.integers(1, 60, 4)
    ]
    start, length = int(draw_from.integers(0, 20)), int(draw_from.integers(MIN_HOPS, 20))
    copy = original[start : start + length].copy()
    wrong = draw_from.choice(length, length // 4, replace=False)
    copy[wrong] ^= np.uint32(1) << draw_from.integers(0, NUM_BITS, len(wrong), dtype=np.uint32)
    arrays = [*others[:2], original, *others[2:], copy]
    (match,) = matches(arrays)
    assert (match.first, match.second, match.offset) == (2, 5, start)
    assert match.bit_error == pytest.approx(by_hand(original, copy, start))
    offsets = range(-length + 1, 40)
    assert match.bit_error == min(
        by_hand(original, copy, offset)
        for offset in offsets
        if min(40, offset + length) - max(offset, 0) >= max(MIN_HOPS, length / 2)
    )


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_recordings_have_no_match(count: int, speech: list[np.ndarray]) -> None:
    assert propose(speech[:count]) == []


def test_correlation_is_that_of_numpy_and_knows_no_sign(speech: list[np.ndarray]) -> None:
    first = speech[0][:6000].astype(np.float64)
    second = -0.3 * first[700:5000] + 0.01 * speech[1][:4300]
    by_numpy = max(
        abs(np.dot(part, second)) / np.linalg.norm(part) / np.linalg.norm(second)
        for part in (first[lag : lag + 4300] for lag in range(1700))
    )
    result = correlation(first.astype(np.float32), second.astype(np.float32), 400)
    assert result == pytest.approx(by_numpy, abs=2e-3)
    assert result > 0.9


def test_less_than_a_tenth_of_a_second_proves_nothing(speech: list[np.ndarray]) -> None:
    assert correlation(speech[0], speech[0], len(speech[0]) - 1599) == 0.0


@pytest.mark.drill
def test_precision_and_recall_over_the_whole_embedded_corpus() -> None:
    """No pair of two splits; within a split only notes of one pitch, and repeated sounds."""
    waveforms = [read(row) for row in ROWS]
    by_kind: dict[str, int] = {}
    for first, second in same(waveforms):
        one, other = ROWS[first], ROWS[second]
        assert one["split"] == other["split"], (one["id"], other["id"])
        assert one["kind"] == other["kind"] in ("note", "sound", "digit", "question")
        by_kind[one["kind"]] = by_kind.get(one["kind"], 0) + 1
        if one["kind"] == "note":
            assert one["id"].rsplit("-", 1)[0] == other["id"].rsplit("-", 1)[0]
    print(by_kind)
    chosen = np.random.default_rng(7).choice(len(ROWS), 300, replace=False).tolist()
    for form, copy in COPIES.items():
        copies = [copy(waveforms[i]) for i in chosen]
        found = same([*waveforms, *copies])
        recall = np.mean([(i, len(ROWS) + n) in found for n, i in enumerate(chosen)])
        print(f"{form}: {recall:.1%}")
        assert recall >= 0.95, form


@pytest.mark.drill
def test_recall_with_the_keys_of_a_million_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "extra_bits", lambda _: 9)
    waveforms = [read(row) for row in draw(ROWS, 300, seed=7)]
    for form, copy in COPIES.items():
        found = same([*waveforms, *map(copy, waveforms)])
        recall = np.mean([(n, len(waveforms) + n) in found for n in range(len(waveforms))])
        print(f"{form}: {recall:.1%}")
        assert recall >= 0.9, form


@pytest.mark.drill
def test_recall_in_a_corpus_that_is_packed_as_opus() -> None:
    """No pair of two splits either; what Opus adds to both of a pair costs some copies."""

    def packed(waveform: np.ndarray) -> np.ndarray:
        return decode_audio(encode_audio(waveform, "opus"))

    rows = draw(ROWS, 300, seed=7)
    waveforms = [packed(read(row)) for row in rows]
    assert not [pair for pair in same(waveforms) if len({rows[n]["split"] for n in pair}) > 1]
    for form, copy in COPIES.items():
        copies = [packed(copy(read(row))) for row in rows]
        found = same([*waveforms, *copies])
        recall = np.mean([(n, len(waveforms) + n) in found for n in range(len(waveforms))])
        print(f"{form}: {recall:.1%}")
        assert recall >= 0.9, form


@pytest.mark.parametrize("extra_bits", [0, 9])
@pytest.mark.parametrize("size", [1, 7, 40])
def test_matches_do_not_depend_on_the_blocks_of_the_search(
    size: int, extra_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of every recording of 60 hops, a stretch of 20 of which crosses borders of blocks."""
    draw_from = np.random.default_rng(3)
    originals = [draw_from.integers(1, 1 << NUM_BITS, 60, dtype=np.uint32) for _ in range(6)]
    copies = [bits[5 * n : 5 * n + 20] for n, bits in enumerate(originals)]
    monkeypatch.setattr(search, "extra_bits", lambda _: extra_bits)
    for name in ("_HOPS_AT_ONCE", "_PROPOSALS_AT_ONCE", "_HOPS_PER_BATCH"):
        monkeypatch.setattr(search, name, size)
    found = {(m.first, m.second, m.offset, m.bit_error) for m in matches([*originals, *copies])}
    assert found == {(n, n + 6, 5 * n, 0.0) for n in range(6)}
