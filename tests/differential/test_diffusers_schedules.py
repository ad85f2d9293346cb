"""Tables and grids against the installed diffusers.

Equal: the tables of every schedule, the grids of DDIM, PNDM and flow matching, and the trailing grid of every solver.
Different, each with its test below:

* leading spacing with an offset and as many steps as the table is long: diffusers names a level past its table;
* trailing spacing with some step counts (61, 103, ...): by rounding diffusers walks one step more, to the label -1;
* PNDM walks the same grid with its warm-up steps in between;
* Euler on `linspace` asks the network for levels between the trained ones; here they are the nearest trained ones;
* DPM-Solver spaces `leading` and `linspace` as for one step more, and leaves the least noisy level out.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)

from wordbrush.diffusion.schedule import DiscreteSchedule, FlowSchedule, schedule_from_config

SPACINGS = ["leading", "linspace", "trailing"]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
COUNTS = [1, 2, 3, 7, 10, 25, 27, 28, 50, 93, 103, 333, 371, 500, 501, 999, 1000]


def ours(scheduler: Any) -> DiscreteSchedule:
    schedule = schedule_from_config(scheduler.config)
    assert isinstance(schedule, DiscreteSchedule)
    return schedule


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize(("start", "end", "size"), [(0.0001, 0.02, 1000), (0.00085, 0.012, 1000), (0.001, 0.3, 77)])
def test_tables_are_equal(kind: str, zero_snr: bool, start: float, end: float, size: int) -> None:
    config = {"beta_schedule": kind, "beta_start": start, "beta_end": end, "num_train_timesteps": size}
    theirs = DDIMScheduler(**config, rescale_betas_zero_snr=zero_snr)
    assert torch.equal(ours(theirs).alphas_cumprod, theirs.alphas_cumprod.double())


def test_the_table_of_given_betas_is_equal() -> None:
    theirs = DDIMScheduler(trained_betas=[0.01, 0.05, 0.2, 0.5], num_train_timesteps=4)
    assert torch.equal(ours(theirs).alphas_cumprod, theirs.alphas_cumprod.double())


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_timesteps_are_equal(spacing: str, offset: int) -> None:
    theirs = DDIMScheduler(**BETAS, timestep_spacing=spacing, steps_offset=offset)
    for steps in sorted({*COUNTS, *range(5, 1000, 13)}):
        theirs.set_timesteps(steps)
        expected = theirs.timesteps.tolist()[::-1]
        if spacing == "leading" and steps + offset > 1000:
            expected = expected[:-offset] + [999] * offset
        if spacing == "trailing" and len(expected) > steps:
            assert expected.pop(0) == -1
        assert ours(theirs).labels(steps) == expected, steps


def test_diffusers_walks_a_step_too_many_where_we_do_not() -> None:
    theirs = DDIMScheduler(**BETAS, timestep_spacing="trailing")
    theirs.set_timesteps(61)
    assert len(theirs.timesteps) == 62
    assert int(theirs.timesteps[-1]) == -1
    assert len(ours(theirs).grid(61)) == 62  # 61 steps between 62 levels


def test_diffusers_leaves_its_table_where_we_stay_at_its_end() -> None:
    theirs = DDIMScheduler(**BETAS, steps_offset=1)
    theirs.set_timesteps(1000)
    assert int(theirs.timesteps[0]) == 1000
    x = torch.zeros(1)
    with pytest.raises(IndexError):
        theirs.step(x, 1000, x)
    assert ours(theirs).labels(1000)[-1] == 999


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [10, 25, 50])
def test_pndm_walks_the_same_levels_one_of_them_twice(spacing: str, steps: int) -> None:
    theirs = PNDMScheduler(**BETAS, timestep_spacing=spacing, steps_offset=1, skip_prk_steps=True)
    theirs.set_timesteps(steps)
    labels = ours(theirs).labels(steps)
    assert sorted(set(theirs.timesteps.tolist())) == labels
    assert len(theirs.timesteps) == steps + 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [11, 25, 50])
def test_euler_takes_the_same_levels_but_for_linspace_between_them(spacing: str, steps: int) -> None:
    theirs = EulerDiscreteScheduler(**BETAS, timestep_spacing=spacing, steps_offset=1)
    theirs.set_timesteps(steps)
    labels = torch.tensor(ours(theirs).labels(steps)).double()
    away = (theirs.timesteps.double().flip(0) - labels).abs().max()
    assert float(away) <= (0.5 if spacing == "linspace" else 0.0)
    if spacing == "linspace":
        assert float(away) > 0.3


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("steps", [10, 25, 50])
def test_dpm_solver_takes_the_same_trailing_levels_and_others_elsewhere(steps: int) -> None:
    for spacing in SPACINGS:
        theirs = DPMSolverMultistepScheduler(**BETAS, timestep_spacing=spacing, steps_offset=1)
        theirs.set_timesteps(steps)
        expected = theirs.timesteps.tolist()[::-1]
        schedule = ours(theirs)
        if spacing == "trailing":
            assert schedule.labels(steps) == expected
        else:
            assert schedule.labels(steps) != expected
        if spacing == "linspace":
            assert schedule.labels(steps + 1)[1:] == expected


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
@pytest.mark.parametrize("steps", [1, 2, 10, 28, 50, 1000])
def test_flow_sigmas_and_timesteps_are_equal(shift: float, steps: int) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(steps)
    schedule = schedule_from_config(theirs.config)
    assert isinstance(schedule, FlowSchedule)
    levels = schedule.grid(steps)[::-1]
    sigmas, labels = (torch.stack([getattr(level, name) for level in levels]) for name in ("sigma", "label"))
    torch.testing.assert_close(sigmas, theirs.sigmas.double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(labels[:-1], theirs.timesteps.double(), rtol=1e-6, atol=1e-4)


def test_flow_configs_saved_and_loaded_are_known(tmp_path: Any) -> None:
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(tmp_path)
    loaded = FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path)
    schedule = schedule_from_config(loaded.config)
    assert isinstance(schedule, FlowSchedule)
    assert schedule.shift == 3.0
