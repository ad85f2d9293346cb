"""The second-order step rule, against the Gaussian closed form, and the installed diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from tests.support import tiny, toy
from tests.support.closed_forms import (
    Gaussian,
    constant,
    down,
    gaussian_scale,
    rms,
    rows,
    stable_diffusion,
    unit_noise,
    up,
)
from wordbrush.diffusion.ask import drive
from wordbrush.diffusion.denoiser import NetworkDenoiser, Prediction
from wordbrush.diffusion.guidance import guided
from wordbrush.diffusion.schedule import FlowSchedule, Level
from wordbrush.diffusion.solvers import DDIM, DPM2M, Solver, invert, step
from wordbrush.editor import Editor
from wordbrush.errors import SettingsError
from wordbrush.session import Session
from wordbrush.settings import Settings

SHAPE = (2, 4, 8, 8)
Z0 = unit_noise(*SHAPE)


def between(steps: int, low: float = 0.2, high: float = 0.8) -> tuple[Level, ...]:
    """A grid between two fixed noise levels: at the clean end the steps are of first order."""
    schedule = stable_diffusion()
    return tuple(schedule.level(low + (high - low) * i / steps) for i in range(steps + 1))


def error(levels: Sequence[Level], variance: float, way: str, solver: Solver) -> float:
    walk, begin, end = (down, -1, 0) if way == "down" else (up, 0, -1)
    found = walk(Gaussian(variance), Z0, levels, solver=solver)[-1]
    exact = gaussian_scale(levels[end], variance) / gaussian_scale(levels[begin], variance)
    return rms(found - Z0 * exact)


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("way", ["down", "up"])
def test_halving_the_step_quarters_the_error(way: str, variance: float) -> None:
    errors = [error(between(steps), variance, way, DPM2M()) for steps in (30, 60, 120)]
    for coarse, fine in pairwise(errors):
        assert 3.5 <= coarse / fine <= 4.5, errors
    assert 10 * errors[-1] < error(between(120), variance, way, DDIM())


def test_it_is_of_second_order_on_a_flow_too() -> None:
    flow = FlowSchedule()
    errors = [error([flow.level(0.2 + 0.6 * i / n) for i in range(n + 1)], 4.0, "down", DPM2M()) for n in (30, 60, 120)]
    for coarse, fine in pairwise(errors):
        assert 3.5 <= coarse / fine <= 4.5, errors


def test_a_constant_noise_and_a_constant_picture_are_walked_exactly() -> None:
    eps, levels = unit_noise(4, 8, 8, seed=3), stable_diffusion().grid(20)[:17]
    x = up(constant(eps), Z0, levels, solver=DPM2M())[-1]
    torch.testing.assert_close(x, levels[-1].alpha * Z0 + levels[-1].sigma * eps, rtol=0, atol=1e-12)
    back = down(constant(eps), x, levels, solver=DPM2M())[-1]
    torch.testing.assert_close(back, Z0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("zero", [False, True])
def test_steps_from_and_to_the_ends_of_the_schedule_are_finite(spacing: str, zero: bool) -> None:
    schedule = stable_diffusion(spacing, rescale_betas_zero_snr=zero)
    for steps in (1, 2, 3, 20):
        levels = schedule.grid(steps)
        states = down(Gaussian(), Z0, levels, solver=DPM2M())
        assert all(x.isfinite().all() for x in states)
        last = Gaussian()(states[-2], levels[1], rows(2))
        torch.testing.assert_close(states[-1], last.x0, rtol=0, atol=0)
        assert all(x.isfinite().all() for x in up(Gaussian(), Z0, levels, solver=DPM2M()))


def test_equal_levels_next_to_each_other_do_no_harm() -> None:
    schedule = stable_diffusion()
    levels = [schedule.level(t) for t in (0.2, 0.4, 0.4, 0.6)]
    once = [schedule.level(t) for t in (0.2, 0.4, 0.6)]
    double = down(Gaussian(), Z0, levels, solver=DPM2M())[-1]
    torch.testing.assert_close(double, down(Gaussian(), Z0, once)[-1], rtol=0, atol=1e-12)


def test_rows_may_stand_at_levels_of_their_own() -> None:
    grids = [[stable_diffusion().level(t + shift) for t in (0.6, 0.5, 0.3)] for shift in (0.0, 0.2)]
    past = [Prediction(unit_noise(*SHAPE, seed=i), unit_noise(*SHAPE, seed=i + 9)) for i in (1, 2)]
    first, second, third = (Level.stack(levels) for levels in zip(*grids, strict=True))
    found = DPM2M()([(first, past[0]), (second, past[1])], third)
    for row, (one, two, three) in enumerate(grids):
        own = [Prediction(p.x0[row : row + 1], p.eps[row : row + 1]) for p in past]
        alone = DPM2M()([(one, own[0]), (two, own[1])], three)
        torch.testing.assert_close(found[row : row + 1], alone, rtol=0, atol=1e-15)
        assert rms(alone - step(own[1], three)) > 0.01


# Against diffusers.


def diffusers_walk(denoise: Any, x: Tensor, labels: list[int]) -> list[Tensor]:
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    theirs = DPMSolverMultistepScheduler(
        **config, algorithm_type="dpmsolver++", solver_order=2, lower_order_final=True, final_sigmas_type="zero"
    )
    theirs.set_timesteps(timesteps=labels)
    found = []
    for label in theirs.timesteps:
        x = theirs.step(denoise(x, label), label, x).prev_sample
        found.append(x)
    return found


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # the scheduler's own arrays
@pytest.mark.parametrize("steps", [3, 16])
def test_the_decode_equals_the_multistep_scheduler_of_diffusers(steps: int) -> None:
    unet, text = tiny.unet(), torch.randn(1, 7, 32, generator=torch.Generator().manual_seed(1))

    def network(x: Tensor, labels: Tensor, conditioning: Any) -> Tensor:
        with torch.no_grad():
            output: Tensor = unet(x, labels.float(), encoder_hidden_states=text, return_dict=False)[0]
        return output

    grid = stable_diffusion("leading").grid(steps)
    x = unit_noise(1, 4, 32, 32).float()
    states = down(NetworkDenoiser(network, "epsilon"), x, grid, solver=DPM2M())[1:]
    labels = [int(level.label) for level in grid[:0:-1]]
    expected = diffusers_walk(lambda x, label: network(x, label.reshape(1), None), x, labels)
    scale = max(float(e.abs().max()) for e in expected)
    for state, other in zip(states, expected, strict=True):
        assert float((state - other).abs().max()) < 1e-5 * max(1.0, scale)


# As a switch.


def session_of(editor: Editor, side: int = 24) -> Session:
    noise = np.random.default_rng(0).integers(-12, 13, (side, side, 3))
    return editor.open((64 + noise).astype(np.uint8))


def test_the_switch_reaches_both_walks_and_their_caches() -> None:
    session = session_of(toy.editor(24))
    settings = Settings(steps=10, guidance=1.0, solver="ddim")
    second = settings.changed(solver="dpm2m")
    one, other = session.trajectory(settings=settings), session.trajectory(settings=second)
    text = session.driver.prompt("").conditioning
    walk = invert(guided(text), one[0], session.levels(second), stride=second.inversion_stride, solver=DPM2M())
    expected = drive(walk, session.driver.model.denoiser)
    assert all(torch.equal(a, b) for a, b in zip(other, expected, strict=True))
    assert not torch.equal(one[-1], other[-1])
    edits = [session.edit("dark left, light right", "dark left, dark right", settings=s) for s in (settings, second)]
    assert np.abs(np.asarray(edits[0].image, float) - np.asarray(edits[1].image)).max() > 0
    outside = edits[1].mask.values == 0
    assert np.array_equal(np.asarray(edits[1].image)[outside], session.picture.srgb[outside])


def test_a_deeper_ratio_gives_the_walk_from_the_start() -> None:
    shallow, deep = Settings(steps=10, ratio=0.4, solver="dpm2m"), Settings(steps=10, ratio=0.8, solver="dpm2m")
    session, fresh = session_of(toy.editor(24)), session_of(toy.editor(24))
    session.trajectory(settings=shallow)
    found, expected = session.trajectory(settings=deep), fresh.trajectory(settings=deep)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_round_trip_comes_nearer_than_the_first_order_one_at_equal_labels() -> None:
    session = session_of(toy.editor(24))
    walk = Settings(steps=50, spacing="model", inversion_label="source", inversion_stride=1)
    first, second = (session.reconstruction(settings=walk.changed(solver=name)) for name in ("ddim", "dpm2m"))
    assert second < 0.7 * first


def test_a_masked_decode_holds_the_outside_at_every_level() -> None:
    levels = stable_diffusion().grid(20)[:17]
    path = up(Gaussian(), Z0, levels, solver=DPM2M())
    mask = torch.zeros(2, 1, 8, 8)
    mask[:, :, 2:6, 3:7] = 1.0
    outside = (mask == 0).expand(SHAPE)
    other = constant(unit_noise(4, 8, 8, seed=4))
    states = down(other, path[-1], levels, path=path, mask=mask, solver=DPM2M())
    for x, kept in zip(states, reversed(path), strict=True):
        assert torch.equal(x[outside], kept[outside])
        assert x.isfinite().all()


def test_fixed_points_are_refused_for_it() -> None:
    with pytest.raises(SettingsError, match="fixed_point 1 is for solver ddim"):
        Settings(solver="dpm2m", fixed_point=1)
    with pytest.raises(SettingsError, match="first-order"):
        up(Gaussian(), Z0, between(5), solver=DPM2M(), fixed_point=1)
