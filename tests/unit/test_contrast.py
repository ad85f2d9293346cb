"""The contrast: differences, rescaling and thresholds, one at a time and by property."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from tests.support import tiny, toy
from tests.support.closed_forms import Counting, stable_diffusion
from tests.support.maps import Map, bump, contrast_of, maps
from wordbrush.diffusion import noise
from wordbrush.diffusion.contrast import Norm, Sign, differences, disagreement, pooled
from wordbrush.diffusion.denoiser import Conditioning, Denoiser, NetworkDenoiser
from wordbrush.engine.driver import Driver
from wordbrush.engine.running import Item
from wordbrush.engine.store import Store
from wordbrush.region.threshold import Contrast, Rescale, Rule, rescale

SHAPE = (4, 8, 8)
Z0 = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
LEVEL = stable_diffusion().level(0.5)
SIGNS, NORMS = cast("tuple[Sign, ...]", get_args(Sign)), cast("tuple[Norm, ...]", get_args(Norm))
RESCALES, RULES = cast("tuple[Rescale, ...]", get_args(Rescale)), cast("tuple[Rule, ...]", get_args(Rule))


def text(value: float) -> Conditioning:
    return Conditioning({"text": torch.tensor([[value]])})


# Differences.


class Places:
    """Estimates noise that the text changes in the left half only, plus something of x that both texts share."""

    def __init__(self, gain: float = 1.0, offset: float = 0.0) -> None:
        self.gain, self.offset = gain, offset

    def __call__(self, x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        here = torch.zeros_like(x)
        here[..., : x.shape[-1] // 2] = 1.0
        own = conditioning["text"].to(x)[:, :, None, None]
        return self.gain * (own * here * (1 + 0.1 * x) + x.tanh()) + self.offset


def drawn(count: int) -> list[Tensor]:
    return [noise.normal(0, "contrast", index, SHAPE) for index in range(count)]


def driven(denoiser: Denoiser, texts: Sequence[Conditioning], count: int, batch_limit: int = 16) -> Tensor:
    """The differences at one level, in calls of at most so many rows."""
    driver = Driver(replace(toy.model(), denoiser=denoiser), batch_limit=batch_limit)
    (found,) = driver.value(differences(Z0, [LEVEL], texts[0], texts[1], [drawn(count)]))
    return found


def found(network: Places, count: int = 4, batch_limit: int = 16) -> Tensor:
    return driven(NetworkDenoiser(network, "epsilon"), [text(1.0), text(0.0)], count, batch_limit)


def test_differences_are_query_minus_reference_at_the_same_noised_latent() -> None:
    difference = found(Places())
    alpha, sigma = LEVEL.scales(Z0)
    for index, fresh in enumerate(drawn(4)):
        expected = 1 + 0.1 * (alpha * Z0 + sigma * fresh)[0, ..., :4]
        torch.testing.assert_close(difference[index, :, :, :4], expected, rtol=0, atol=1e-5)
    assert not difference[..., 4:].any()


@pytest.mark.parametrize("batch_limit", [1, 2, 3, 4, 7, 20])
def test_chunks_do_not_change_differences(batch_limit: int) -> None:
    torch.testing.assert_close(found(Places(), 7, batch_limit), found(Places(), 7, 14), rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch_limit", [1, 2, 5, 8, 20])
def test_chunks_do_not_change_the_differences_of_a_real_unet(batch_limit: int) -> None:
    unet = tiny.unet("sd1")

    def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        answer: Tensor = unet(x, labels, encoder_hidden_states=conditioning["text"]).sample
        return answer

    generator = torch.Generator().manual_seed(1)
    texts = [Conditioning({"text": torch.randn(1, 7, 32, generator=generator)}) for _ in range(2)]
    denoiser = Counting(NetworkDenoiser(network, "epsilon"))
    whole = driven(denoiser, texts, 5, batch_limit=10)
    assert (denoiser.rows, denoiser.calls) == (10, 2)
    parts = driven(denoiser, texts, 5, batch_limit=batch_limit)
    assert float(whole.abs().max()) > 1e-4
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_limit", [1, 2, 3, 6, 64])
def test_calls_hold_the_batch_limit_and_progress_is_told(batch_limit: int) -> None:
    sizes: list[int] = []
    done: list[int] = []

    def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        sizes.append(len(x))
        return x

    driver = Driver(replace(toy.model(), denoiser=NetworkDenoiser(network, "epsilon")), batch_limit=batch_limit)
    walk = differences(Z0, [LEVEL], text(1.0), text(0.0), [drawn(7)])
    driver.run([Item(walk, Store(0))], lambda event: done.append(event.step))
    assert sum(sizes) == 14
    assert max(sizes) <= batch_limit
    assert done[-1] == 14
    assert done == sorted(done)


def test_texts_that_mean_the_same_give_exactly_zero_and_run_no_network() -> None:
    denoiser = Counting(NetworkDenoiser(Places(), "epsilon"))
    difference = driven(denoiser, [text(0.3), text(0.3)], 5)
    assert difference.shape == (5, *SHAPE)
    assert not difference.any()
    assert denoiser.rows == 0


@pytest.mark.parametrize("count", range(1, 33))
def test_any_number_of_maps_is_finite(count: int) -> None:
    difference = found(Places(), count, 8)
    assert difference.shape == (count, *SHAPE)
    for sign in SIGNS:
        for norm in NORMS:
            raw = disagreement(difference, sign=sign, norm=norm)
            assert raw.shape == SHAPE[1:]
            assert raw.isfinite().all()
            assert (raw >= 0).all()


def test_maps_of_a_smaller_count_are_the_first_of_a_larger_one() -> None:
    torch.testing.assert_close(found(Places(), 9)[:4], found(Places(), 4), rtol=0, atol=0)


# Reduction, by hand: two noises, two channels, one row of two cells.

HAND = torch.tensor([[[[3.0, 1.0]], [[-4.0, 1.0]]], [[[-3.0, 1.0]], [[4.0, 3.0]]]])


@pytest.mark.parametrize(
    ("sign", "norm", "expected"),
    [
        ("absolute", "mean", [3.5, 1.5]),
        ("absolute", "l2", [12.5**0.5, (1 + 5**0.5) / 2]),
        ("signed", "mean", [0.0, 1.5]),  # what the noises do not agree on cancels
        ("signed", "l2", [0.0, 2.5**0.5]),
    ],
)
def test_signs_and_norms_by_hand(sign: Sign, norm: Norm, expected: list[float]) -> None:
    assert disagreement(HAND, sign=sign, norm=norm)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_signed_contrast_is_never_above_the_absolute_one() -> None:
    difference = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    for norm in NORMS:
        signed, absolute = (disagreement(difference, sign=sign, norm=norm) for sign in SIGNS[::-1])
        assert (signed <= absolute + 1e-6).all()


# Invariance.


@pytest.mark.parametrize("how", RESCALES)
@pytest.mark.parametrize("gain", [1e-3, 0.03, 30.0, 1e3])
def test_the_soft_map_and_every_mask_do_not_depend_on_scale(gain: float, how: Rescale) -> None:
    one, other = (disagreement(found(Places(g))).numpy() for g in (1.0, gain))
    plain, scaled = contrast_of(one, how), contrast_of(other, how)
    np.testing.assert_allclose(scaled.soft, plain.soft, rtol=0, atol=1e-5)
    smooth = bump()
    for rule in RULES:
        masks = [contrast_of(raw, how).threshold(rule=rule).values for raw in (smooth, smooth * np.float32(gain))]
        np.testing.assert_array_equal(masks[0], masks[1])


@pytest.mark.parametrize("offset", [-100.0, 1e-3, 1.0, 100.0])
def test_adding_a_constant_to_both_predictions_changes_nothing(offset: float) -> None:
    one, other = (disagreement(found(Places(1.0, o))).numpy() for o in (0.0, offset))
    np.testing.assert_allclose(contrast_of(other).soft, contrast_of(one).soft, rtol=0, atol=1e-4)


# Rescaling.


@pytest.mark.parametrize("how", RESCALES)
@given(raw=maps)
def test_soft_maps_are_finite_in_range_and_keep_the_order(how: Rescale, raw: Map) -> None:
    soft = rescale(raw, how)
    assert soft.shape == raw.shape
    assert soft.dtype == np.float32
    assert np.isfinite(soft).all()
    assert soft.min() >= 0.0
    assert soft.max() <= 1.0
    order = np.argsort(raw, axis=None)
    assert (np.diff(soft.ravel()[order]) >= 0).all()
    assert soft.any() == (raw.max() > raw.min())


@pytest.mark.parametrize("how", RESCALES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (4, 4)])
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-3, 1.0, 1e30])
def test_flat_maps_give_empty_masks_by_every_rule(how: Rescale, shape: tuple[int, int], value: float) -> None:
    contrast = contrast_of(np.full(shape, value, np.float32), how)
    assert contrast.is_flat
    assert not contrast.soft.any()
    for rule in RULES:
        mask = contrast.threshold(rule=rule)
        assert mask.is_empty
        assert mask.size == shape[::-1]
        assert contrast.threshold(0.0, rule).is_empty
    assert contrast.threshold(-0.1, "otsu").is_empty


def test_zero_difference_is_flat() -> None:
    raw = disagreement(torch.zeros(3, *SHAPE)).numpy()
    assert contrast_of(raw).is_flat


def test_rounding_on_a_level_map_is_not_taken_for_a_place() -> None:
    raw = np.ones((8, 8), np.float32)
    raw[2, 3] += np.float32(5e-7)
    assert contrast_of(raw).is_flat


def test_rescaling_by_hand() -> None:
    raw = np.array([[1.0, 2.0, 3.0, 5.0]], np.float32)
    np.testing.assert_allclose(rescale(raw, "minmax"), [[0, 0.25, 0.5, 1]], atol=1e-6)
    low, high = np.percentile(raw, [10, 90])
    expected = [[0, (2 - low) / (high - low), (3 - low) / (high - low), 1]]
    np.testing.assert_allclose(rescale(raw, "percentile", clip=10), expected, atol=1e-6)
    # Quartiles 1.75 and 3.5: the fence stands at 6.125 and nothing is beyond it.
    np.testing.assert_allclose(rescale(raw, "iqr"), rescale(raw, "minmax"), atol=1e-6)
    # Quartiles 1.75 and 4.75: the fence stands at 9.25.
    outlier = np.array([[1.0, 2.0, 3.0, 10.0]], np.float32)
    np.testing.assert_allclose(rescale(outlier, "iqr"), np.minimum((outlier - 1) / 8.25, 1), atol=1e-6)
    np.testing.assert_allclose(rescale(raw, "ratio", ratio=1.5), np.minimum(raw / (1.5 * 2.75), 1), atol=1e-6)


def test_clips_that_take_all_that_stands_out_fall_back_to_the_whole_range() -> None:
    raw = np.ones((32, 32), np.float32)
    raw[5, 6] = 9.0
    for how in RESCALES[:3]:
        soft = rescale(raw, how)
        assert soft[5, 6] == 1.0
        assert np.count_nonzero(soft) == 1
    assert contrast_of(raw).threshold().area == pytest.approx(1 / 1024)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0, 3.0, 4.0, 8.0])
def test_the_ratio_rule_is_a_multiple_of_the_mean(ratio: float) -> None:
    raw = bump(16, 24)
    expected = raw > ratio / 2 * raw.mean()
    by_rescale = Contrast(raw, rescale(raw, "ratio", ratio=ratio)).threshold(0.5)
    by_rule = contrast_of(raw).threshold(ratio / 2, "ratio")
    np.testing.assert_array_equal(by_rescale.values > 0, expected)
    np.testing.assert_array_equal(by_rule.values > 0, expected)


def test_a_map_of_the_left_half_finds_the_left_half() -> None:
    raw = disagreement(found(Places(), 8)).numpy()
    for how in RESCALES:
        mask = contrast_of(raw, how).threshold(0.5 if how != "ratio" else 0.2)
        assert mask.values[:, :4].all()
        assert not mask.values[:, 4:].any()


def test_levels_are_averaged_by_size_or_as_shares_of_their_own_mean() -> None:
    faint = torch.tensor([[0.01, 0.03], [0.01, 0.03]])  # noise at a level where the texts hardly disagree
    strong = torch.tensor([[3.0, 3.0], [1.0, 1.0]])
    torch.testing.assert_close(pooled([faint, strong]), (faint + strong) / 2)
    torch.testing.assert_close(pooled([faint, strong], "shares"), torch.tensor([[1.0, 1.5], [0.5, 1.0]]))
    assert torch.equal(pooled([faint]), faint)
    assert torch.equal(pooled([faint], "shares"), faint)
