"""Walks that ask less: levels read off one estimate, guidance in an interval, one difference for several steps."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support import toy
from tests.support.closed_forms import (
    Gaussian,
    constant,
    gaussian_scale,
    rms,
    rows,
    stable_diffusion,
    unit_noise,
)
from wordbrush.diffusion.ask import drive
from wordbrush.diffusion.denoiser import Conditioning, Denoiser, Prediction, reanchored
from wordbrush.diffusion.guidance import guided
from wordbrush.diffusion.position import between, cut_grid
from wordbrush.diffusion.position import stable_diffusion as axis
from wordbrush.diffusion.schedule import FlowSchedule, Level, Schedule
from wordbrush.diffusion.solvers import SOLVERS, decode, invert
from wordbrush.session import Session
from wordbrush.settings import Settings

Z0 = unit_noise(2, 4, 8, 8)
EVEN = cut_grid(stable_diffusion(), 0.9, 20, "snr", "even")


class Counted:
    """Counts the rows that a denoiser answers."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.rows = denoiser, list[int]()

    def __call__(self, x: Tensor, level: Level, conditioning: Conditioning, **told: Any) -> Prediction:
        self.rows.append(len(x))
        return self.denoiser(x, level, conditioning, **told)


def pulled(x: Tensor, level: Level, conditioning: Conditioning, *, label: Level | None = None) -> Prediction:
    """Answer as for N(0, 1), with the noise moved by the text's number: the difference of two texts never changes."""
    plain = Gaussian()(x, level, conditioning)
    return reanchored(Prediction(plain.x0, plain.eps + conditioning["text"].reshape(-1, 1, 1, 1).to(x)), x, level)


def text(number: float, count: int = 2) -> Conditioning:
    return Conditioning({"text": torch.full((count, 1), number)})


def up(denoiser: Denoiser, levels: Any, **how: Any) -> list[Tensor]:
    return drive(invert(guided(rows(2)), Z0, levels, **how), denoiser)


@pytest.mark.parametrize("schedule", [stable_diffusion(), FlowSchedule(shift=3.0)])
@pytest.mark.parametrize("steps", [1, 8, 25])
def test_even_levels_are_as_far_apart_as_the_first_is_from_the_clean_one(schedule: Schedule, steps: int) -> None:
    for ratio in (0.3, 0.88, 1.0):
        for kind in ("snr", "grid"):
            chosen: Literal["snr", "grid"] = "snr" if kind == "snr" else "grid"
            levels = cut_grid(schedule, ratio, steps, chosen, "even")
            assert len(levels) - 1 == int(ratio * steps + 0.5)
            own = axis() if kind == "snr" else schedule
            for i, level in enumerate(levels[1:], 1):
                wanted = schedule.level(1.0) if i == steps else own.level(i / steps)
                if float(wanted.alpha) > 0:
                    found, asked = (float(one.sigma / one.alpha) for one in (level, wanted))
                    assert found == pytest.approx(asked, rel=1e-6)
            assert float(levels[0].sigma) == 0.0


def test_no_step_is_spent_beside_the_clean_level() -> None:
    model, even = (cut_grid(toy.TRAINED, 0.88, 25, "snr", spacing) for spacing in ("model", "even"))
    assert [len(model), len(even)] == [23, 23]
    assert [float(model[1].label), float(even[1].label)] == [1.0, 39.0]
    assert float(even[-1].label) == 879.0


@pytest.mark.parametrize("solver", sorted(SOLVERS))
@pytest.mark.parametrize("stride", [1, 2, 3, 5, 40])
def test_a_constant_noise_is_inverted_exactly_in_any_stride(solver: str, stride: int) -> None:
    eps, counted = unit_noise(4, 8, 8, seed=3), Counted(constant(unit_noise(4, 8, 8, seed=3)))
    path = up(counted, EVEN, stride=stride, solver=SOLVERS[solver]())
    assert len(path) == len(EVEN) == 19
    assert len(counted.rows) == -(-18 // stride)
    for x, level in zip(path, EVEN, strict=True):
        torch.testing.assert_close(x, level.alpha * Z0 + level.sigma * eps, rtol=0, atol=1e-12)


@pytest.mark.parametrize("solver", sorted(SOLVERS))
@pytest.mark.parametrize("variance", [0.25, 4.0])
def test_a_stride_goes_through_the_ends_of_a_coarser_grid_and_no_worse_between(solver: str, variance: float) -> None:
    path = up(Gaussian(variance), EVEN, stride=2, solver=SOLVERS[solver]())
    coarse = up(Gaussian(variance), EVEN[::2], solver=SOLVERS[solver]())
    for one, other in zip(path[::2], coarse, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    exact = [Z0 * gaussian_scale(level, variance) / gaussian_scale(EVEN[0], variance) for level in EVEN]
    errors = [rms(x - wanted) for x, wanted in zip(path, exact, strict=True)]
    assert all(errors[i] < max(errors[i - 1], errors[i + 1]) for i in range(1, 18, 2)), errors


@pytest.mark.parametrize("solver", sorted(SOLVERS))
@pytest.mark.parametrize("depth", [6, 7, 8, 9])
def test_a_kept_path_in_strides_is_carried_on_and_equals_going_in_one(solver: str, depth: int) -> None:
    def path(opened: Session, steps_up: int) -> list[Tensor]:
        walk = Settings.from_preset(steps=10, spacing="even", solver=solver, inversion_stride=3, ratio=steps_up / 10)
        return opened.trajectory(settings=walk)

    session, alone = (toy.editor().open(np.full((32, 32, 3), 90, np.uint8)) for _ in range(2))
    for kept in (5, depth):
        carried = path(session, kept)
    assert len(carried) == depth + 1
    for one, other in zip(carried, path(alone, depth), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_a_difference_that_never_changes_may_serve_any_number_of_steps(every: int) -> None:
    def walk(**how: Any) -> tuple[Tensor, list[int]]:
        counted = Counted(pulled)
        found = drive(decode(guided(text(0.3), text(-0.1), 4.0, **how), Z0, EVEN), counted)
        return found, counted.rows

    plain, all_rows = walk()
    found, some = walk(every=every)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-11)
    assert all_rows == [4] * 18
    assert some == [4 if i % every == 0 else 2 for i in range(18)]
    assert rms(plain - drive(decode(guided(text(0.3)), Z0, EVEN), pulled)) > 0.1


def test_guidance_in_an_interval_is_that_of_the_text_alone_outside_it() -> None:
    whole, alone = guided(text(0.3), text(-0.1), 4.0), guided(text(0.3))
    held = guided(text(0.3), text(-0.1), 4.0, interval=(0.3, 0.6))
    for level in EVEN:
        inside = 0.3 < float(level.time) <= 0.6  # this schedule is the axis itself
        counted = Counted(pulled)
        found = drive(held(Z0, level), counted)
        expected = drive((whole if inside else alone)(Z0, level), pulled)
        assert counted.rows == [4 if inside else 2]
        torch.testing.assert_close(found.eps, expected.eps, rtol=0, atol=0)
    assert sum(between(level, 0.3, 0.6) for level in EVEN) == 6


def test_an_interval_means_equal_noise_on_every_schedule_and_its_ends_hold_all_but_the_clean_level() -> None:
    flow = FlowSchedule(shift=3.0)
    for level in (flow.level(i / 40) for i in range(41)):
        ratio = float(level.sigma) / max(float(level.alpha), 1e-12)
        low, high = (float(axis().level(place).sigma / axis().level(place).alpha) for place in (0.25, 0.7))
        assert between(level, 0.25, 0.7) == (low < ratio <= high)
        assert between(level, 0.0, 1.0) == (float(level.sigma) > 0)


def test_a_plan_counts_what_cheap_walks_ask() -> None:
    ways: list[dict[str, Any]] = [
        {"inversion_stride": 3},
        {"guidance_low": 0.4},
        {"guidance_high": 0.5},
        {"guidance_every": 3},
    ]
    for switches in ways:
        whole: dict[str, Any] = {"guidance": 3.0, "inversion_stride": 1, "guidance_low": 0.0, "steps": 9}
        settings = Settings.from_preset(**{**whole, **switches})
        editor = toy.editor()
        result = editor.edit(np.full((32, 32, 3), 90, np.uint8), "dark left, light right", "", settings=settings)
        planned = editor.plan((32, 32), settings=settings).evaluations
        assert {**planned, **result.report.evaluations} == planned
        assert sum(planned.values()) < sum(editor.plan((32, 32), settings=Settings(**whole)).evaluations.values())
