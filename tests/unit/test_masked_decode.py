"""What a mask holds. The denoiser is constant: every walk is exact, so what the mask does is all there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest
import torch
from torch import Tensor

from tests.support.closed_forms import constant, down, rms, round_trip, stable_diffusion, unit_noise, up
from wordbrush.diffusion.position import depth_of
from wordbrush.diffusion.solvers import held

Soft = Literal["strength", "blend"]
SHAPE = (2, 4, 8, 8)
Z0 = unit_noise(*SHAPE)
EPS = unit_noise(4, 8, 8, seed=3)
LEVELS = stable_diffusion().grid(20)[: depth_of(0.8, 20) + 1]
TRAJECTORY = up(constant(EPS), Z0, LEVELS)
RANDOM = [unit_noise(*SHAPE, seed=100 + index) for index in range(len(LEVELS))]
OTHER = constant(unit_noise(4, 8, 8, seed=4))


def decoded(mask: Tensor | None, path: Sequence[Tensor] = TRAJECTORY, soft: Soft = "strength") -> list[Tensor]:
    """The states reached, from the level below the noisiest one down to the clean one."""
    return down(OTHER, path[-1], LEVELS, path=path, mask=mask, soft=soft)[1:]


def below(states: Sequence[Tensor]) -> list[tuple[int, Tensor]]:
    """Each state with the index of its level."""
    return list(zip(range(len(LEVELS) - 2, -1, -1), states, strict=True))


def test_the_constant_denoiser_goes_there_and_back() -> None:
    assert round_trip(constant(EPS), Z0, LEVELS) < 1e-12
    assert round_trip(constant(EPS), Z0.float(), LEVELS) < 5e-6


@pytest.mark.parametrize("soft", ["strength", "blend"])
def test_an_empty_mask_gives_the_picture_back_exactly(soft: Soft) -> None:
    assert torch.equal(decoded(torch.zeros(2, 1, 8, 8), soft=soft)[-1], Z0)


@pytest.mark.parametrize("soft", ["strength", "blend"])
def test_a_full_mask_changes_nothing(soft: Soft) -> None:
    masked, free = decoded(torch.ones(2, 1, 8, 8), soft=soft), decoded(None)
    assert all(torch.equal(a, b) for a, b in zip(masked, free, strict=True))


@pytest.mark.parametrize("soft", ["strength", "blend"])
@pytest.mark.parametrize("trajectory", [TRAJECTORY, RANDOM], ids=["recorded", "random"])
def test_outside_the_mask_every_state_is_the_trajectory_at_its_own_level(
    trajectory: Sequence[Tensor], soft: Soft
) -> None:
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, :, 2:6, 3:7] = 1.0
    mask[1, :, :3] = 1.0
    outside = (mask == 0).expand(SHAPE)
    for index, x in below(decoded(mask, trajectory, soft)):
        assert torch.equal(x[outside], trajectory[index][outside])
        assert not torch.equal(x[~outside], trajectory[index][~outside])


def test_a_binary_mask_means_the_same_as_strength_and_as_blend() -> None:
    mask = (torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    for one, other in zip(decoded(mask, soft="strength"), decoded(mask, soft="blend"), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-15)


@pytest.mark.parametrize("strength", [0.05, 0.25, 0.5, 0.75, 1.0])
def test_a_cell_of_some_strength_is_held_until_that_last_part_of_the_way(strength: float) -> None:
    mask = torch.full((2, 1, 8, 8), strength)
    depth = len(LEVELS) - 1
    for index, x in below(decoded(mask, RANDOM)):
        free = index / depth < strength
        assert torch.equal(x, RANDOM[index]) is not free


@pytest.mark.parametrize("until", [0.0, 0.3, 1.0])
def test_a_ring_is_free_until_its_share_of_the_way_and_held_from_there(until: float) -> None:
    mask, ring = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    mask[..., 3:5, 3:5], ring[..., 2:6, 2:6] = 1.0, 1.0
    inside, around = (mask > 0).expand(SHAPE), ((ring - mask) > 0).expand(SHAPE)
    states = down(OTHER, RANDOM[-1], LEVELS, path=RANDOM, mask=mask, ring=ring, ring_until=until)[1:]
    depth = len(LEVELS) - 1
    for index, x in below(states):
        assert torch.equal(x[around], RANDOM[index][around]) == (index < until * depth)
        assert not torch.equal(x[inside], RANDOM[index][inside])
        outside = (ring == 0).expand(SHAPE)
        assert torch.equal(x[outside], RANDOM[index][outside])


def test_strength_is_monotone() -> None:
    strengths = [0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0]
    mask = torch.tensor(strengths).reshape(1, 1, 2, 4).expand(2, 1, 2, 4)
    kept, x = torch.zeros(2, 4, 2, 4), torch.ones(2, 4, 2, 4)
    before = torch.zeros(8)
    for index in range(16, -1, -1):
        free = held(x, kept, mask, index, 16, "strength")[0, 0].reshape(-1)
        assert (free.diff() >= 0).all(), "a stronger cell goes free no later"
        assert (free >= before).all(), "what is free stays free"
        before = free
    assert before.tolist() == [0.0, *[1.0] * 7]


def test_stronger_cells_change_more() -> None:
    change = [rms(decoded(torch.full((2, 1, 8, 8), m))[-1] - Z0) for m in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert change[0] == 0.0
    assert change == sorted(change)
    assert len(set(change)) == 5


def test_blend_mixes_at_every_level() -> None:
    x, kept, mask = unit_noise(*SHAPE, seed=5), unit_noise(*SHAPE, seed=6), torch.full((2, 1, 8, 8), 0.3).double()
    torch.testing.assert_close(held(x, kept, mask, 3, 10, "blend"), 0.3 * x + 0.7 * kept, rtol=0, atol=1e-7)
