"""Walks up and down, against the Gaussian closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.support import toy
from tests.support.closed_forms import (
    Counting,
    Gaussian,
    down,
    gaussian_network,
    gaussian_scale,
    rms,
    round_trip,
    rows,
    stable_diffusion,
    unit_noise,
    up,
)
from wordbrush.diffusion.denoiser import NetworkDenoiser, Parametrisation, Prediction
from wordbrush.diffusion.guidance import guided
from wordbrush.diffusion.position import depth_of
from wordbrush.diffusion.schedule import FlowSchedule, Level
from wordbrush.diffusion.solvers import DDIM, SOLVERS, InversionLabel, invert, step
from wordbrush.engine.driver import Driver
from wordbrush.engine.running import Item
from wordbrush.engine.store import Store

SHAPE = (2, 4, 8, 8)
Z0 = unit_noise(*SHAPE)


def levels_of(steps: int, ratio: float = 0.8, spacing: str = "trailing") -> tuple[Level, ...]:
    return stable_diffusion(spacing).grid(steps)[: depth_of(ratio, steps) + 1]


# The Gaussian closed form.


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace"])
def test_the_decode_is_of_first_order(spacing: str, variance: float) -> None:
    def error(steps: int) -> float:
        levels = levels_of(steps, 1.0, spacing)
        found = down(Gaussian(variance), Z0, levels)[-1]
        return rms(found - Z0 * variance**0.5 / gaussian_scale(levels[-1], variance))

    errors = [error(steps) for steps in (25, 50, 100, 200)]
    for coarse, fine in pairwise(errors):
        assert 1.7 <= coarse / fine <= 2.2, errors


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
def test_the_euler_step_of_a_flow_is_of_first_order(variance: float) -> None:
    def error(steps: int) -> float:
        levels = FlowSchedule().grid(steps)
        found = down(Gaussian(variance), Z0, levels)[-1]
        return rms(found - Z0 * variance**0.5)

    errors = [error(steps) for steps in (25, 50, 100, 200)]
    for coarse, fine in pairwise(errors):
        assert 1.7 <= coarse / fine <= 2.2, errors


def test_the_inversion_follows_the_exact_map() -> None:
    levels = levels_of(1000)
    path = up(Gaussian(0.25), Z0 / 2, levels)
    for x, level in list(zip(path, levels, strict=True))[1::100]:
        assert rms(x - Z0 * gaussian_scale(level, 0.25)) < 0.005


ROUND_TRIP = {10: 0.2396, 25: 0.1089, 50: 0.0585, 100: 0.0310, 200: 0.0164}


@pytest.mark.parametrize("steps", ROUND_TRIP)
def test_round_trip(steps: int) -> None:
    assert round_trip(Gaussian(), Z0, levels_of(steps)) == pytest.approx(ROUND_TRIP[steps], rel=0.01)


def test_round_trip_of_fifty_steps_loses_what_the_reference_says() -> None:
    assert round_trip(Gaussian(), Z0, levels_of(50), label="source") == pytest.approx(0.058, rel=0.05)


@pytest.mark.parametrize(("evaluations", "expected"), [(1, 1.6e-3), (2, 6.3e-5), (3, 3.1e-6), (5, 1.1e-8)])
def test_fixed_point_evaluations_make_the_round_trip_exact(evaluations: int, expected: float) -> None:
    found = round_trip(Gaussian(), Z0, levels_of(50), fixed_point=evaluations)
    assert found == pytest.approx(expected, rel=0.05)
    assert found < 1e-5 or evaluations < 3


def test_ten_fixed_point_evaluations_reach_machine_precision() -> None:
    assert round_trip(Gaussian(), Z0, levels_of(50), fixed_point=10) < 1e-12


@pytest.mark.parametrize("label", ["source", "target"])
def test_the_fixed_point_does_not_depend_on_the_label_it_began_with(label: InversionLabel) -> None:
    exact = up(Gaussian(), Z0, levels_of(50), fixed_point=12)[-1]
    found = up(Gaussian(), Z0, levels_of(50), label=label, fixed_point=12)[-1]
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_target_label_is_nearly_exact_for_unit_variance_in_every_parametrisation(kind: Parametrisation) -> None:
    network = gaussian_network(stable_diffusion(), kind, 1.0)
    found = round_trip(NetworkDenoiser(network, kind), Z0, levels_of(50), label="target")
    assert found == pytest.approx(0.00083, rel=0.05)
    assert found < 0.002


@pytest.mark.parametrize(("variance", "source", "target"), [(0.1, 0.0662, 0.0287), (4.0, 0.0751, 0.0320)])
def test_the_target_label_is_better_at_other_variances_too(variance: float, source: float, target: float) -> None:
    x, levels = Z0 * variance**0.5, levels_of(50)
    assert round_trip(Gaussian(variance), x, levels, label="source") == pytest.approx(source, rel=0.02)
    assert round_trip(Gaussian(variance), x, levels, label="target") == pytest.approx(target, rel=0.02)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("fixed_point", "limit"), [(0, 0.061), (3, 1e-5)])
def test_networks_of_every_parametrisation_go_there_and_back(
    kind: Parametrisation, fixed_point: int, limit: float
) -> None:
    # A network has no label for the clean level and is told its least noisy one, so the first step differs a little.
    denoiser = NetworkDenoiser(gaussian_network(stable_diffusion(), kind, 1.0), kind)
    assert round_trip(denoiser, Z0, levels_of(50), fixed_point=fixed_point) < limit


@pytest.mark.parametrize("label", ["source", "target"])
@pytest.mark.parametrize(("solver", "fixed_point"), [("ddim", 0), ("ddim", 2), ("dpm2m", 0)])
def test_a_kept_path_is_carried_on_and_equals_going_in_one(
    label: InversionLabel, solver: str, fixed_point: int
) -> None:
    levels, counted = levels_of(50), Counting(Gaussian())
    whole = up(Gaussian(), Z0, levels, label=label, fixed_point=fixed_point, solver=SOLVERS[solver]())
    driver, store = Driver(replace(toy.model(), denoiser=counted)), Store(1 << 30)
    for depth, calls in ((15, 15), (40, 25), (30, 0)):
        before = counted.calls
        walk = invert(
            guided(rows(2)),
            Z0,
            levels[: depth + 1],
            label=label,
            fixed_point=fixed_point,
            solver=SOLVERS[solver](),
            key=("trajectory",),
        )
        path = driver.run([Item(walk, store)]).outcomes[0].result()
        assert counted.calls - before == calls * (1 + fixed_point)
        assert all(torch.equal(a, b) for a, b in zip(path, whole[: depth + 1], strict=True))


@pytest.mark.parametrize("fixed_point", [0, 1, 3])
def test_evaluations_are_counted_as_promised(fixed_point: int) -> None:
    rising, falling = Counting(Gaussian()), Counting(Gaussian())
    path = up(rising, Z0, levels_of(50), fixed_point=fixed_point)
    down(falling, path[-1], levels_of(50))
    assert (rising.calls, rising.rows) == (40 * (1 + fixed_point), 80 * (1 + fixed_point))
    assert (falling.calls, falling.rows) == (40, 80)


def test_walks_over_one_level_go_nowhere() -> None:
    assert [id(x) for x in up(Gaussian(), Z0, levels_of(50, 0.0))] == [id(Z0)]
    assert [id(x) for x in down(Gaussian(), Z0, levels_of(50, 0.0))] == [id(Z0)]


def test_a_step_is_the_level_formula_and_rows_may_stand_at_levels_of_their_own() -> None:
    prediction = Prediction(unit_noise(*SHAPE, seed=1), unit_noise(*SHAPE, seed=2))
    levels = [stable_diffusion().level(t) for t in (0.2, 0.7)]
    found = step(prediction, Level.stack(levels))
    for row, level in enumerate(levels):
        expected = level.alpha * prediction.x0[row] + level.sigma * prediction.eps[row]
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-15)
        alone = step(Prediction(prediction.x0[row : row + 1], prediction.eps[row : row + 1]), level)
        torch.testing.assert_close(found[row : row + 1], alone, rtol=0, atol=1e-15)


class Remembering:
    """DDIM of the last estimate that records how much of the past it was given."""

    order = 3

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def __call__(self, history: Sequence[tuple[Level, Prediction]], target: Level) -> Tensor:
        self.lengths.append(len(history))
        times = [float(level.time) for level, _ in history]
        assert times in (sorted(times), sorted(times, reverse=True))
        return DDIM()(history, target)


def test_solvers_of_higher_order_see_their_past_in_both_directions() -> None:
    levels, rising, falling = levels_of(5, 1.0), Remembering(), Remembering()
    path = up(Gaussian(), Z0, levels, solver=rising)
    plain = up(Gaussian(), Z0, levels)
    assert all(torch.equal(a, b) for a, b in zip(path, plain, strict=True))
    down(Gaussian(), path[-1], levels, solver=falling)
    assert rising.lengths == falling.lengths == [1, 2, 3, 3, 3]


# Fresh noise.

LEVELS = levels_of(20)


def test_fresh_noise_is_asked_for_every_level_but_the_clean_one() -> None:
    asked: list[int] = []

    def noise(index: int) -> Tensor:
        asked.append(index)
        return torch.zeros(SHAPE, dtype=torch.float64)

    down(Gaussian(), Z0, LEVELS, eta=1.0, fresh=noise)
    assert asked == list(range(len(LEVELS) - 2, 0, -1))


def test_without_eta_no_noise_is_asked_for() -> None:
    def noise(index: int) -> Tensor:
        raise AssertionError(index)

    plain = down(Gaussian(), Z0, LEVELS)
    found = down(Gaussian(), Z0, LEVELS, eta=0.0, fresh=noise)
    assert torch.equal(plain[-1], found[-1])


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_fresh_noise_keeps_the_variance_of_the_data(eta: float) -> None:
    generator = torch.Generator().manual_seed(7)

    def noise(index: int) -> Tensor:
        return torch.randn(1, 4, 64, 64, generator=generator, dtype=torch.float64)

    found = down(Gaussian(), unit_noise(1, 4, 64, 64), levels_of(100, 1.0), eta=eta, fresh=noise)[-1]
    assert rms(found) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_fresh_noise_stays_finite_on_a_flow_and_from_zero_signal(eta: float) -> None:
    zero = stable_diffusion(rescale_betas_zero_snr=True)
    network = NetworkDenoiser(gaussian_network(zero, "v_prediction", 1.0), "v_prediction")

    def noise(index: int) -> Tensor:
        return unit_noise(*SHAPE, seed=index)

    for denoiser, levels in ((Gaussian(), FlowSchedule().grid(20)), (network, zero.grid(20))):
        states = down(denoiser, Z0, levels, eta=eta, fresh=noise)
        assert all(x.isfinite().all() for x in states)
