"""Augmentation keeps the form that the encoder needs, and draws only from its generator."""

import pytest
import torch

from model.audio import MAX_SAMPLES
from model.augment import AugmentRecipe, augment_features
from model.features import log_mel_spectrogram
from tests.support.oracle import FEATURES, RECIPE, make_waveform

STILL = AugmentRecipe(
    time_stretch=(1.0, 1.0), mel_shift=0, noise_std=0.0, num_time_masks=0, num_mel_masks=0
)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_recipe_without_changes_changes_nothing() -> None:
    features = FEATURES["odd"]
    changed = augment_features(features, generator(0), STILL)
    assert torch.equal(changed, features)
    assert changed.data_ptr() != features.data_ptr()


def test_the_generator_alone_decides() -> None:
    before = FEATURES["long"].clone()
    first, again, other = (
        augment_features(FEATURES["long"], generator(seed), AugmentRecipe()) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)
    assert torch.equal(FEATURES["long"], before)


def test_lengths_stay_even_within_the_bounds_and_below_30_seconds() -> None:
    longest = log_mel_spectrogram([make_waveform(MAX_SAMPLES, seed=1)], RECIPE.num_mel_bins)[0]
    recipe = AugmentRecipe()
    low, high = recipe.time_stretch
    for features in (FEATURES["shortest"], FEATURES["odd"], longest):
        signal = features.shape[1] - 2
        for seed in range(20):
            frames = augment_features(features, generator(seed), recipe).shape[1]
            assert frames % 2 == 0
            assert 6 <= frames <= 3002
            assert signal * low - 1 <= frames - 2 <= signal * high + 1


def test_frames_past_30_seconds_are_zero_and_the_floor_again_after_shrinking() -> None:
    longest = log_mel_spectrogram([make_waveform(MAX_SAMPLES, seed=1)], RECIPE.num_mel_bins)[0]
    longer = STILL.model_copy(update={"time_stretch": (1.1, 1.1)})
    shorter = STILL.model_copy(update={"time_stretch": (0.5, 0.5)})
    assert not augment_features(longest, generator(0), longer)[:, -2:].any()
    halved = augment_features(longest, generator(0), shorter)
    assert halved.shape[1] == 1502
    assert torch.all(halved[:, -2:] == longest[:, :-2].min())


LONG = log_mel_spectrogram([make_waveform(70 * 16_000, seed=2)], RECIPE.num_mel_bins)[0]
"""Three windows, 3002 + 3002 + 1002 frames."""


def test_windows_keep_their_tempo_and_their_padding_and_change_as_one_recording() -> None:
    recipe = AugmentRecipe(noise_std=0.0)
    borders = [3000, 3001, 6002, 6003, 7004, 7005]
    inside = torch.ones(LONG.shape[1], dtype=torch.bool)
    inside[borders] = False
    for seed in range(5):
        changed = augment_features(LONG, generator(seed), recipe)
        assert changed.shape == LONG.shape
        assert torch.equal(changed[:, borders], LONG[:, borders])
        whole = LONG[:, inside]
        alike = [
            (changed[:, inside] == whole.roll(shift, dims=0)).float().mean()
            for shift in range(-3, 4)
        ]
        assert max(alike) > 0.8, "one shift for all windows"


def test_a_time_mask_may_lie_across_the_border_of_two_windows() -> None:
    recipe = STILL.model_copy(update={"num_time_masks": 40, "time_mask_frames": 900})
    changed = augment_features(LONG, generator(1), recipe)
    masked = (changed != LONG).any(0)
    assert masked[2990:3000].all()
    assert masked[3002:3010].all()
    assert not masked[3000:3002].any()


def test_a_shift_moves_channels_and_fills_with_the_floor() -> None:
    features = FEATURES["long"]
    floor = features[:, :-2].min()
    shifts = set()
    for seed in range(30):
        recipe = STILL.model_copy(update={"mel_shift": 2})
        changed = augment_features(features, generator(seed), recipe)[:, :-2]
        signal = features[:, :-2]
        for shift in range(-2, 3):
            expected = torch.full_like(signal, float(floor))
            source = signal[max(0, -shift) : signal.shape[0] - max(0, shift)]
            expected[max(0, shift) : signal.shape[0] + min(0, shift)] = source
            if torch.equal(changed, expected):
                shifts.add(shift)
                break
        else:
            pytest.fail(f"seed {seed}: no shift explains the result")
    assert shifts == {-2, -1, 0, 1, 2}


def test_masks_are_set_to_the_floor_and_no_wider_than_allowed() -> None:
    features = FEATURES["long"]
    recipe = STILL.model_copy(update={"num_time_masks": 1, "time_mask_frames": 9})
    changed = augment_features(features, generator(3), recipe)
    touched = (changed != features).any(0).nonzero()[:, 0]
    assert 0 < len(touched) <= 9
    assert int(touched[-1] - touched[0]) < 9
    assert torch.all(changed[:, touched] == features[:, :-2].min())


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"time_stretch is \(1.2, 0.8\)"):
        AugmentRecipe(time_stretch=(1.2, 0.8))
