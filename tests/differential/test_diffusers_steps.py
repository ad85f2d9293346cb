"""Steps down and up against the installed diffusers.

Equal: DDIM for every parametrisation and eta, with `set_alpha_to_one`; the flow's Euler step; the inverse DDIM step of
an eps network. Different, each with its test below:

* `set_alpha_to_one=False`, as in Stable Diffusion's configs, takes the least noisy level for the clean one, at both
  ends: here level 0 is clean, alpha 1, whatever the config says;
* on `linspace` grids, and on `trailing` ones that do not divide the table, diffusers steps by a fixed stride and so
  leaves its own grid; here a step goes to the next level of the grid;
* the inverse step of v- and x0-networks: diffusers reads the answer for the target level as if it were for the
  source; here the noise estimate is what is kept, as for eps networks, which is nearer to the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from tests.support.closed_forms import (
    down,
    gaussian_network,
    rms,
    round_trip,
    rows,
    stable_diffusion,
    unit_noise,
    up,
)
from wordbrush.diffusion.denoiser import Conditioning, NetworkDenoiser, Parametrisation, convert
from wordbrush.diffusion.schedule import DiscreteSchedule, schedule_from_config
from wordbrush.diffusion.solvers import step

KINDS: list[Parametrisation] = ["epsilon", "v_prediction", "sample"]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SHAPE = (2, 4, 8, 8)
X = unit_noise(*SHAPE)


def scheduler(cls: Any = DDIMScheduler, **changes: Any) -> Any:
    """Any config of these tests: no clipping, which is for pixels, and a clean last level."""
    made = cls(**(BETAS | {"clip_sample": False, "set_alpha_to_one": True, "steps_offset": 1} | changes))
    made.set_timesteps(50)
    return made


def ours(theirs: Any) -> DiscreteSchedule:
    schedule = schedule_from_config(theirs.config)
    assert isinstance(schedule, DiscreteSchedule)
    return schedule


def answer(label: float, x: Tensor) -> Tensor:
    """What a network might say: different at every level, of the size of x, and depending on x."""
    return 0.9 * unit_noise(*SHAPE, seed=1 + round(label)) + 0.3 * x.sin()


def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
    return answer(float(labels[0]), x)


def fresh(label: float) -> Tensor:
    return unit_noise(*SHAPE, seed=2000 + round(label))


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_single_steps_are_equal(kind: Parametrisation, offset: int, spacing: str) -> None:
    theirs = scheduler(prediction_type=kind, steps_offset=offset, timestep_spacing=spacing)
    grid = ours(theirs).grid(50)
    for index, label in zip(range(50, 0, -1), theirs.timesteps.tolist(), strict=True):
        level, target = grid[index], grid[index - 1]
        x0, eps = unit_noise(*SHAPE, seed=index), unit_noise(*SHAPE, seed=index + 100)
        x = level.alpha * x0 + level.sigma * eps
        output = {"epsilon": eps, "sample": x0, "v_prediction": level.alpha * eps - level.sigma * x0}[kind]
        found = step(convert(output.float(), x.float(), level, kind), target)
        expected = theirs.step(output.float(), label, x.float()).prev_sample
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
        found = step(convert(output, x, level, kind), target)
        torch.testing.assert_close(found, theirs.step(output, label, x).prev_sample, rtol=0, atol=1e-6)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_walks_are_equal_given_the_same_fresh_noise(kind: Parametrisation, eta: float) -> None:
    theirs = scheduler(prediction_type=kind, timestep_spacing="trailing")
    grid, x = ours(theirs).grid(50), X
    states = down(NetworkDenoiser(network, kind), X, grid, eta=eta, fresh=lambda i: fresh(float(grid[i].label)))
    for state, level, label in zip(states[1:], grid[-2::-1], theirs.timesteps.tolist(), strict=True):
        drawn = fresh(float(level.label)) if eta > 0 else None
        x = theirs.step(answer(label, x), label, x, eta=eta, variance_noise=drawn).prev_sample
        scale = max(1.0, float(x.abs().max()))
        assert float((state - x).abs().max()) < 1e-5 * scale


@pytest.mark.parametrize("kind", KINDS)
def test_without_alpha_one_diffusers_stops_short_of_the_clean_level(kind: Parametrisation) -> None:
    short = scheduler(prediction_type=kind, set_alpha_to_one=False)
    schedule = ours(short)
    level, output = schedule.at_label(1), answer(1, X)
    prediction = convert(output, X, level, kind)
    theirs = short.step(output, 1, X).prev_sample
    torch.testing.assert_close(theirs, step(prediction, schedule.at_label(0)), rtol=0, atol=1e-6)
    clean = step(prediction, schedule.level(0.0))
    assert torch.equal(clean, prediction.x0)
    assert rms(theirs - clean) > 0.02  # sigma of the least noisy level is 0.029


@pytest.mark.parametrize(("spacing", "steps"), [("linspace", 10), ("linspace", 50), ("trailing", 30)])
def test_diffusers_leaves_its_own_grid_where_it_does_not_divide_the_table(spacing: str, steps: int) -> None:
    theirs = scheduler(timestep_spacing=spacing)
    theirs.set_timesteps(steps)
    labels, stride = theirs.timesteps.tolist(), 1000 // steps
    first, second = next((a, b) for a, b in pairwise(labels) if a - stride != b)
    landed = first - stride
    schedule, output = ours(theirs), answer(first, X)
    prediction = convert(output, X, schedule.at_label(first), "epsilon")
    found = theirs.step(output, first, X).prev_sample
    torch.testing.assert_close(found, step(prediction, schedule.at_label(landed)), rtol=0, atol=1e-5)
    assert rms(found - step(prediction, schedule.at_label(second))) > 1e-3


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_step_of_a_flow_is_euler(shift: float) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(28)
    labels, x = theirs.timesteps, X.float()

    def single(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        return network(x, labels, conditioning).float()

    states = down(NetworkDenoiser(single, "flow"), x, schedule_from_config(theirs.config).grid(28))
    for state, label in zip(states[1:], labels, strict=True):
        x = theirs.step(answer(float(label), x).float(), label, x).prev_sample
        torch.testing.assert_close(state, x, rtol=0, atol=5e-6)


def their_up(
    theirs: Any, x: Tensor, say: Callable[[float, Tensor], Tensor] = answer, count: int | None = None
) -> list[Tensor]:
    """Invert with diffusers."""
    found = []
    for label in theirs.timesteps.tolist()[:count]:
        x = theirs.step(say(label, x), label, x).prev_sample
        found.append(x)
    return found


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("offset", [0, 1])
def test_inversion_steps_are_equal_for_eps_networks(offset: int, spacing: str) -> None:
    theirs = scheduler(DDIMInverseScheduler, steps_offset=offset, timestep_spacing=spacing)
    states = up(NetworkDenoiser(network, "epsilon"), X, ours(theirs).grid(50), label="target")
    for state, expected in zip(states[1:], their_up(theirs, X), strict=True):
        torch.testing.assert_close(state, expected, rtol=1e-5, atol=1e-5)


def test_without_alpha_one_diffusers_takes_the_picture_for_the_least_noisy_level() -> None:
    theirs = scheduler(DDIMInverseScheduler, set_alpha_to_one=False)
    schedule = ours(theirs)
    grid = schedule.grid(50)
    denoiser = NetworkDenoiser(network, "epsilon")
    found = up(denoiser, X, grid[:2], label="target")[1]
    expected = their_up(theirs, X, count=1)[0]
    assert 0.01 < rms(found - expected) < 0.05
    relabelled = [schedule.at_label(0), *grid[1:]]
    same = up(denoiser, X, relabelled[:2], label="target")[1]
    torch.testing.assert_close(same, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "expected"), [("epsilon", 0.00083), ("v_prediction", 0.0585), ("sample", float("nan"))]
)
def test_inversion_steps_of_v_and_x0_networks_differ_for_the_better(kind: Parametrisation, expected: float) -> None:
    config = {"prediction_type": kind, "timestep_spacing": "trailing"}
    rising, falling = scheduler(DDIMInverseScheduler, **config), scheduler(**config)
    told = gaussian_network(stable_diffusion(), kind, 1.0)

    def say(label: float, x: Tensor) -> Tensor:
        return told(x, torch.full((len(x),), label), rows(len(x)))

    x = their_up(rising, X, say, 40)[-1]
    for label in falling.timesteps.tolist()[10:]:
        x = falling.step(say(label, x), label, x).prev_sample
    assert rms(x - X) == pytest.approx(expected, rel=0.05, nan_ok=True)
    levels = ours(falling).grid(50)[:41]
    assert round_trip(NetworkDenoiser(told, kind), X, levels, label="target") == pytest.approx(0.00083, rel=0.05)
