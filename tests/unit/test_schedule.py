"""Levels, tables and grids, against what they mean; tests/differential compares them with diffusers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.closed_forms import SD, stable_diffusion
from wordbrush.diffusion.position import depth_of
from wordbrush.diffusion.schedule import DiscreteSchedule, FlowSchedule, Level, Schedule, schedule_from_config
from wordbrush.errors import ModelError, SettingsError

SPACINGS = ("leading", "linspace", "trailing")
SCHEDULES: list[Schedule] = [*(stable_diffusion(s) for s in SPACINGS), FlowSchedule(), FlowSchedule(shift=3.0)]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 10, 50, 999])
def test_a_grid_starts_clean_and_never_gets_less_noisy(schedule: Schedule, steps: int) -> None:
    grid = schedule.grid(steps)
    assert len(grid) == steps + 1
    clean = grid[0]
    assert (float(clean.time), float(clean.alpha), float(clean.sigma), float(clean.label)) == (0.0, 1.0, 0.0, 0.0)
    for name in ("time", "sigma", "label"):
        values = [float(getattr(level, name)) for level in grid]
        assert values == sorted(values), name
        assert len(set(values[1:])) == steps, name


def test_every_level_of_a_discrete_schedule_keeps_variance_and_knows_its_time() -> None:
    schedule = stable_diffusion()
    for index in range(1, 1001):
        level = schedule.level(index / 1000)
        assert float(level.label) == index - 1
        assert float(level.time) == index / 1000
        assert float(level.alpha**2 + level.sigma**2) == pytest.approx(1.0, abs=1e-15)
    products = torch.cumprod(1.0 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    assert float(schedule.level(0.5).alpha) == pytest.approx(math.sqrt(float(products[499])), abs=1e-12)


@given(st.floats(0.0, 1.0), st.floats(0.1, 10.0))
def test_flow_levels_lie_on_the_straight_line(time: float, shift: float) -> None:
    level = FlowSchedule(shift=shift).level(time)
    assert float(level.alpha) == 1.0 - time
    assert float(level.sigma) == time
    assert float(level.label) == time * 1000


def test_a_shift_moves_the_grid_and_not_the_axis() -> None:
    plain, shifted = FlowSchedule(), FlowSchedule(shift=3.0)
    assert float(plain.level(0.3).sigma) == float(shifted.level(0.3).sigma)
    middle = [float(s.grid(51)[26].sigma) for s in (plain, shifted)]
    assert middle[1] > middle[0]
    assert float(shifted.grid(7)[-1].sigma) == 1.0


def test_between_levels_the_nearest_is_taken() -> None:
    schedule = stable_diffusion()
    for time, label in ((0.00049, 0.0), (0.00051, 0.0), (0.4994, 498.0), (0.4996, 499.0), (0.9996, 999.0)):
        assert float(schedule.level(time).label) == label
    assert float(schedule.level(0.00049).sigma) == 0.0 < float(schedule.level(0.00051).sigma)


def test_zero_terminal_snr_ends_without_signal_and_keeps_its_start() -> None:
    plain, zero = stable_diffusion(), stable_diffusion(rescale_betas_zero_snr=True)
    assert float(zero.level(1.0).alpha) == 0.0
    assert float(zero.level(1.0).sigma) == 1.0
    assert float(zero.at_label(0).alpha) == pytest.approx(float(plain.at_label(0).alpha), abs=1e-6)


def test_trained_betas_are_taken_as_they_are() -> None:
    schedule = schedule_from_config({"trained_betas": [0.1, 0.2, 0.5], "beta_start": 0.9})
    assert isinstance(schedule, DiscreteSchedule)
    assert schedule.alphas_cumprod.tolist() == pytest.approx([0.9, 0.72, 0.36], abs=1e-6)
    assert [float(level.label) for level in schedule.grid(3)] == [0.0, 0.0, 1.0, 2.0]


def test_labels_past_the_table_are_held_at_its_end() -> None:
    # Leading spacing with an offset and as many steps as the table is long; diffusers reads past its table here.
    assert stable_diffusion("leading").labels(1000)[-2:] == [999, 999]


@pytest.mark.parametrize("config", [{"shift": 3.0}, {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}])
def test_flow_configs_are_known_with_and_without_a_class_name(config: dict[str, object]) -> None:
    schedule = schedule_from_config(config)
    assert isinstance(schedule, FlowSchedule)
    assert schedule.shift == 3.0


def test_the_flow_configs_of_other_solvers() -> None:
    config = {"beta_start": 1e-4, "use_flow_sigmas": True, "flow_shift": 2.0}
    schedule = schedule_from_config(config)
    assert isinstance(schedule, FlowSchedule)
    assert schedule.shift == 2.0


def test_a_shift_by_size_must_be_given() -> None:
    config = {"shift": 1.0, "use_dynamic_shifting": True}
    with pytest.raises(ModelError, match="shift="):
        schedule_from_config(config)
    schedule = schedule_from_config(config, shift=1.5)
    assert isinstance(schedule, FlowSchedule)
    assert schedule.shift == 1.5


@pytest.mark.parametrize(("name", "value"), [("beta_schedule", "sigmoid"), ("timestep_spacing", "karras")])
def test_unknown_kinds_are_named(name: str, value: str) -> None:
    with pytest.raises(ModelError, match=value):
        schedule_from_config(SD | {name: value})


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_out_of_range_is_refused(schedule: Schedule) -> None:
    for time in (-1e-9, 1.0 + 1e-9, math.nan):
        with pytest.raises(SettingsError, match="outside"):
            schedule.level(time)
    with pytest.raises(SettingsError, match="steps"):
        schedule.grid(0)
    if isinstance(schedule, DiscreteSchedule):
        with pytest.raises(SettingsError, match="1001"):
            schedule.grid(1001)


def test_a_flow_shift_must_be_positive() -> None:
    with pytest.raises(ModelError, match="positive"):
        FlowSchedule(shift=0.0)


@given(st.floats(0.0, 1.0), st.integers(1, 1000))
def test_depth_lies_on_the_grid(ratio: float, steps: int) -> None:
    depth = depth_of(ratio, steps)
    assert 0 <= depth <= steps
    assert abs(depth - ratio * steps) <= 0.5


@pytest.mark.parametrize(
    ("ratio", "steps", "depth"),
    [(0.9, 25, 23), (0.5, 25, 13), (0.5, 1, 1), (0.145, 100, 15), (0.7, 45, 32), (0.1, 5, 1), (0.3, 5, 2)],
)
def test_halves_are_rounded_up_as_they_are_written(ratio: float, steps: int, depth: int) -> None:
    assert depth_of(ratio, steps) == depth


def test_depth_rounds_where_diffusers_truncates() -> None:
    assert depth_of(0.8, 50) == int(0.8 * 50) == 40
    assert 0.29 * 100 < 29  # in floating point
    assert (depth_of(0.29, 100), int(0.29 * 100)) == (29, 28)
    for bad in (-0.01, 1.01, math.nan):
        with pytest.raises(SettingsError, match="ratio"):
            depth_of(bad, 50)


def test_levels_stack_select_and_repeat() -> None:
    single, grid = Level.of(0.5, 0.8, 0.6, 499.0), stable_diffusion().grid(4)
    assert single.select(slice(0, 1)) is single
    assert single.repeat_interleave(2) is single
    assert single.labels(3).tolist() == [499.0] * 3
    stacked = Level.stack(grid)
    assert stacked.time.shape == (5,)
    assert torch.equal(stacked.select(torch.tensor([3, 1])).label, stacked.label[[3, 1]])
    assert stacked.repeat_interleave(2).label.tolist() == [x for level in grid for x in [float(level.label)] * 2]
    x = torch.ones(5, 4, 2, 2)
    alpha, sigma = stacked.scales(x)
    assert alpha.shape == sigma.shape == (5, 1, 1, 1)
    assert alpha.dtype == torch.float32
    assert float(stacked.scales(x.double())[0][2]) == float(grid[2].alpha)
