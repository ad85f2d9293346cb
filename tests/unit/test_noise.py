"""Noise: named streams, the same numbers everywhere."""

from __future__ import annotations

import pytest
import torch

from wordbrush.diffusion.noise import normal

SHAPE = (4, 32, 32)

# First values of (seed, stream, index) with shape (4, 32, 32): a change here changes every edit ever made.
GOLDEN = {
    (0, "contrast", 0): [0.6735829, -2.3234401, -0.4359771, -0.1250655],
    (0, "contrast", 1): [0.9571841, 1.9047558, 0.7149056, -2.0642655],
    (0, "decode", 0): [0.6755397, 0.537632, 0.5340614, 0.2066646],
    (12345678901234567890, "contrast", 0): [0.1775842, -0.5060216, 0.5257452, -0.4235997],
    (-1, "decode", 7): [-1.5702513, 1.1533846, 0.9731213, -0.1203506],
}


@pytest.mark.parametrize("key", GOLDEN)
def test_the_numbers_of_a_seed_never_change(key: tuple[int, str, int]) -> None:
    assert normal(*key, SHAPE).flatten()[:4].tolist() == pytest.approx(GOLDEN[key], abs=1e-6)


def test_draws_are_standard_normal_float32_on_the_cpu() -> None:
    x = normal(3, "contrast", 0, (4, 64, 64))
    assert (x.shape, x.dtype, x.device.type) == ((4, 64, 64), torch.float32, "cpu")
    assert float(x.mean()) == pytest.approx(0.0, abs=0.03)
    assert float(x.std()) == pytest.approx(1.0, abs=0.03)


def test_streams_indices_and_seeds_are_independent() -> None:
    keys = [(seed, stream, index) for seed in (0, 1, 11) for stream in ("contrast", "decode") for index in (0, 1, 11)]
    draws = torch.stack([normal(*key, SHAPE).flatten() for key in keys])
    correlation = torch.corrcoef(draws) - torch.eye(len(keys))
    assert float(correlation.abs().max()) < 0.08  # five standard errors of 4096 numbers


def test_a_draw_depends_on_nothing_drawn_before_or_beside_it() -> None:
    torch.manual_seed(0)
    many = [normal(5, "contrast", index, SHAPE) for index in range(8)]
    torch.manual_seed(1)
    torch.randn(100)
    assert torch.equal(normal(5, "contrast", 6, SHAPE), many[6])


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    normal(5, "contrast", 0, SHAPE)
    assert torch.equal(torch.randn(3), expected)


def test_digits_of_seed_and_index_are_not_run_together() -> None:
    assert not torch.equal(normal(1, "contrast", 11, SHAPE), normal(11, "contrast", 1, SHAPE))
