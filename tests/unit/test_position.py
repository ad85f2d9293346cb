"""Positions on the axis of Stable Diffusion: exact on its own schedule, equal noise on any other."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.support import toy
from tests.support.closed_forms import stable_diffusion
from wordbrush.diffusion.position import contrast_levels, cut_grid, depth_of, translated
from wordbrush.diffusion.position import stable_diffusion as axis
from wordbrush.diffusion.schedule import FlowSchedule, Level, Schedule, schedule_from_config
from wordbrush.errors import SettingsError
from wordbrush.models.families.flux_2 import shift_for

COSINE = schedule_from_config({"beta_schedule": "squaredcos_cap_v2"})
OTHERS: list[Schedule] = [FlowSchedule(), FlowSchedule(shift=3.0), COSINE, stable_diffusion("trailing")]
PLACES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.88, 0.9)


def log_snr(level: Level) -> float:
    return 2 * math.log(float(level.alpha) / float(level.sigma))


def same(one: Level, other: Level) -> bool:
    return all(float(getattr(one, n)) == float(getattr(other, n)) for n in ("time", "alpha", "sigma", "label"))


@pytest.mark.parametrize("index", range(0, 1001, 7))
def test_every_level_of_stable_diffusion_is_found_again_exactly(index: int) -> None:
    level = stable_diffusion().level(index / 1000)
    assert same(translated(stable_diffusion(), level), level)


@pytest.mark.parametrize("place", PLACES)
def test_flow_has_the_same_signal_to_noise_in_closed_form(place: float) -> None:
    """Rectified flow at time t has sigma / alpha = t / (1 - t)."""
    wanted = axis().level(place)
    found = contrast_levels(FlowSchedule(shift=3.0), [place], "snr", 25)[0]
    expected = float(wanted.sigma) / (float(wanted.sigma) + float(wanted.alpha))
    assert float(found.time) == pytest.approx(expected, abs=1e-12)
    assert log_snr(found) == pytest.approx(log_snr(wanted), abs=1e-9)


def test_half_way_of_stable_diffusion_is_deeper_than_half_way_of_flow() -> None:
    level = contrast_levels(FlowSchedule(), [0.5], "snr", 25)[0]
    assert float(level.alpha / level.sigma) == pytest.approx(0.62, abs=0.005)
    assert float(level.time) == pytest.approx(0.617, abs=0.001)


def test_a_discrete_schedule_gives_its_nearest_trained_level() -> None:
    for place in PLACES:
        wanted = log_snr(axis().level(place))
        found = contrast_levels(COSINE, [place], "snr", 25)[0]
        steps = [COSINE.level(k / 1000) for k in range(1, 1001)]
        assert abs(log_snr(found) - wanted) == min(abs(log_snr(level) - wanted) for level in steps)


@pytest.mark.parametrize("schedule", OTHERS)
def test_the_models_own_time_and_grid_stay(schedule: Schedule) -> None:
    assert same(contrast_levels(schedule, [0.4], "time", 10)[0], schedule.level(0.4))
    assert same(contrast_levels(schedule, [0.4], "grid", 10)[0], schedule.grid(10)[4])


@pytest.mark.parametrize("steps", [1, 2, 5, 12, 25, 50, 500])
def test_stable_diffusion_is_cut_where_it_always_was(steps: int) -> None:
    schedule = toy.TRAINED  # as Stable Diffusion's own config says it
    for ratio in (0.0, 0.01, 0.145, 0.3, 0.5, 0.88, 0.89, 0.9, 0.999, 1.0):
        axes: list[Literal["snr", "grid"]] = ["snr", "grid"]
        assert {len(cut_grid(schedule, ratio, steps, axis_)) - 1 for axis_ in axes} == {depth_of(ratio, steps)}


@pytest.mark.parametrize("schedule", OTHERS)
@pytest.mark.parametrize("steps", [2, 12, 25, 50])
def test_another_grid_is_cut_at_the_deepest_level_that_is_not_noisier(schedule: Schedule, steps: int) -> None:
    grid = schedule.grid(steps)
    for ratio in PLACES:
        depth = depth_of(ratio, steps)
        try:
            cut = cut_grid(schedule, ratio, steps, "snr")
        except SettingsError as told:
            enough = float(str(told).split("give ")[1].split()[0])
            assert log_snr_or_none(grid[1]) < log_snr(axis().grid(steps)[depth])
            assert len(cut_grid(schedule, enough, steps, "snr")) > 1
            with pytest.raises(SettingsError):
                cut_grid(schedule, enough - 0.01, steps, "snr")
            continue
        assert [float(level.time) for level in cut] == [float(level.time) for level in grid[: len(cut)]]
        if depth == 0:
            assert len(cut) == 1
            continue
        wanted = log_snr(axis().grid(steps)[depth])
        assert log_snr(cut[-1]) >= wanted - 1e-4
        assert len(cut) == len(grid) or log_snr_or_none(grid[len(cut)]) < wanted


def log_snr_or_none(level: Level) -> float:
    return log_snr(level) if float(level.alpha) > 0 else -math.inf


@pytest.mark.parametrize("schedule", OTHERS)
def test_the_ends_of_the_ratio_are_the_ends_of_every_grid(schedule: Schedule) -> None:
    ends: Any = {ratio: len(cut_grid(schedule, ratio, 25, "snr")) for ratio in (0.0, 1.0)}
    assert ends == {0.0: 1, 1.0: 26}


def test_the_table_in_the_docs_is_what_positions_mean() -> None:
    text = (Path(__file__).parents[2] / "docs/models.md").read_text(encoding="utf-8")
    lines = text.partition("strength .5 | .7 | .9 | ratio .88 |")[2].splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in itertools.takewhile(lambda line: line.startswith("|"), lines)]
    places = [axis().level(place) for place in (0.5, 0.7, 0.9, 0.88)]
    linear = schedule_from_config({"beta_schedule": "linear"})
    sigmas = [float(translated(FlowSchedule(), place).sigma) for place in places]
    of_flux_2 = shift_for({"use_dynamic_shifting": True}, 4096, 50)
    wanted: dict[str, Sequence[float]] = {
        "Stable Diffusion": [float(place.label) for place in places],
        "PixArt": [float(translated(linear, place).label) for place in places],
        "rectified": sigmas,
        "FLUX.2": [sigma / (of_flux_2 - (of_flux_2 - 1) * sigma) for sigma in sigmas],
        "Sana-Sprint": [math.atan2(sigma, 1 - sigma) / (math.pi / 2) for sigma in sigmas],
    }
    for row in rows:
        if found := re.search(r"shift (\d[\d.]*)", row[0]):
            shift = float(found[1])
            numbers: Sequence[float] = [sigma / (shift - (shift - 1) * sigma) for sigma in sigmas]
        else:
            numbers = next(value for name, value in wanted.items() if row[0].startswith(name))
        digits = len(row[1].partition(".")[2])
        assert [float(cell) for cell in row[1:]] == pytest.approx(numbers, abs=0.51 * 10**-digits), row[0]
    assert len(rows) == 11
