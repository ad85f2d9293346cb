"""Proposition 1 where its constants are known exactly, and on a real network."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.support import tiny, toy
from tests.support.closed_forms import Gaussian, rows, stable_diffusion
from wordbrush.diffusion.denoiser import Conditioning, NetworkDenoiser
from wordbrush.diffusion.schedule import FlowSchedule
from wordbrush.editor import Editor
from wordbrush.errors import InputError, ModelError
from wordbrush.evaluation import lipschitz
from wordbrush.evaluation.bounds import Bounds, estimate_bounds
from wordbrush.evaluation.bounds_page import report_of
from wordbrush.evaluation.proposition import crossing, encode_bound, gronwall_bound, noise_bound, tau_of
from wordbrush.pages.report import csv_text
from wordbrush.settings import Settings

SETTINGS = Settings(steps=10, guidance=3.0, guidance_low=0.0)  # guided at every level, as the bounds have it
HALF = "light left, light right"


def picture(seed: int = 0) -> NDArray[np.uint8]:
    return (64 + np.random.default_rng(seed).integers(-12, 13, (16, 16, 3))).astype(np.uint8)


def editor_of(network: Any) -> Editor:
    """The toy model with another network."""
    return Editor(replace(toy.model(16), denoiser=NetworkDenoiser(network, "epsilon")))


# The formulas.


def test_the_bounds_cross_where_the_constants_of_the_paper_say() -> None:
    schedule = stable_diffusion()
    times = [k / 1000 for k in range(1, 1001)]
    taus = [tau_of(schedule.level(time)) for time in times]
    low, high = [encode_bound(t, 3.0, 0.02) for t in taus], [noise_bound(t, 1.0) for t in taus]
    assert crossing(taus, low, high) == pytest.approx(3.50, abs=0.01)
    assert crossing(times, low, high) == pytest.approx(0.713, abs=0.002)


@pytest.mark.parametrize("k1", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("tau", [0.1, 1.0, 14.0])
def test_the_gronwall_bound_is_its_integral(tau: float, k1: float) -> None:
    s = np.linspace(0.0, tau, 200_001)
    integral = np.trapezoid((s + np.sqrt(s**2 + 1)) ** k1, s)
    assert gronwall_bound(tau, k1, 0.3) == pytest.approx(0.3 * integral, rel=1e-6)


def test_huge_constants_give_infinite_bounds_and_no_error() -> None:
    assert encode_bound(14.0, 1e4, 1.0) == gronwall_bound(14.0, 1e4, 1.0) == math.inf


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [([0, 1, 3], [1, 1.5, 2], 1.0 + 0.5 / 1.5), ([2, 3, 4], [1, 1, 1], 0.0), ([0, 0, 0], [1, 1, 1], None)],
)
def test_crossings(low: Sequence[float], high: Sequence[float], expected: float | None) -> None:
    assert crossing([0.0, 1.0, 2.0], low, high) == (None if expected is None else pytest.approx(expected))


def test_a_flow_is_refused() -> None:
    with pytest.raises(ModelError, match="variance-preserving"):
        tau_of(FlowSchedule().level(0.5))


# Lipschitz constants.


@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_of_a_gaussian_every_estimate_is_the_derivative(time: float) -> None:
    level, denoiser = stable_diffusion().level(time), Gaussian(0.25)
    alpha, sigma = float(level.alpha), float(level.sigma)
    exact = sigma / (alpha**2 * 0.25 + sigma**2)
    x, other, start = (torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(s)).double() for s in (0, 1, 2))

    def estimate(value: Tensor) -> Tensor:
        return denoiser(value, level, rows(len(value))).eps

    found = lipschitz.along_directions(estimate, x, start)
    assert found.tolist() == pytest.approx([exact] * 3, rel=1e-9)
    assert lipschitz.between(x, other, estimate(x), estimate(other)).tolist() == pytest.approx([exact] * 3)
    assert lipschitz.largest_singular_value(estimate, x[:1], start[:1]) == pytest.approx(exact)


def test_power_iteration_finds_the_largest_singular_value_of_a_matrix() -> None:
    matrix = torch.randn(24, 24, generator=torch.Generator().manual_seed(0)).double()
    x = torch.randn(1, 1, 4, 6, generator=torch.Generator().manual_seed(1)).double()

    def estimate(value: Tensor) -> Tensor:
        return (value.flatten(1) @ matrix.T).reshape(value.shape)

    exact = float(torch.linalg.matrix_norm(matrix, 2))
    found = lipschitz.largest_singular_value(estimate, x, torch.ones_like(x), iterations=200)
    assert found == pytest.approx(exact, rel=1e-6)
    short = lipschitz.largest_singular_value(estimate, x, torch.ones_like(x), iterations=3)
    assert 0.5 * exact < short <= exact


def test_an_estimate_that_does_not_look_at_x_has_none() -> None:
    assert lipschitz.largest_singular_value(torch.zeros_like, torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)) == 0.0


# The whole estimate.


def shifted(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
    """A noise estimate of size 1 that the text moves by its brightness and x does not move at all."""
    signs = torch.ones_like(x)
    signs[..., ::2] = -1
    return signs + conditioning["halves"].to(x)[:, :1, None, None]


def test_a_constant_difference_attains_the_gronwall_bound() -> None:
    found = estimate_bounds(editor_of(shifted), [(picture(), HALF), (picture(1), HALF)], SETTINGS, ratios=[0.5, 1.0])
    known = found.constants
    # |sign + .5| is sqrt(1 + .25), and the difference between the texts is .5 everywhere.
    assert known.lipschitz == pytest.approx(0.0, abs=1e-4)
    assert known.k2.mean == pytest.approx(0.5, rel=1e-5)
    assert known.c.largest == pytest.approx(math.sqrt(1.25), rel=1e-5)
    assert known.c_guided.largest == pytest.approx(math.sqrt(1 + 1.5**2), rel=1e-5)
    for row in found.rows:
        assert row["encode_error"] == pytest.approx(0.5 * row["tau"], rel=1e-3)
        assert row["encode_error_guided"] == pytest.approx(1.5 * row["tau"], rel=1e-3)
        assert row["gronwall_bound"] == pytest.approx(row["encode_error"], rel=1e-3)
        assert row["encode_bound"] < row["encode_error"], "the paper's form lies below the error here"
        assert row["noise_error"] <= row["noise_bound"]
        assert row["noise_error_guided"] <= row["noise_bound_guided"]


def test_without_a_difference_between_the_texts_the_inversion_has_no_error() -> None:
    def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        return torch.ones_like(x)

    found = estimate_bounds(editor_of(network), [(picture(), HALF)], SETTINGS, ratios=[0.8])
    (row,) = found.rows
    assert found.constants.lipschitz == found.constants.k2.largest == 0.0
    assert row["encode_bound"] == row["gronwall_bound"] == 0.0
    assert max(row["encode_error"], row["encode_error_guided"]) < 1e-5 * row["tau"] + 1e-6
    assert 0.5 * row["tau"] < row["noise_error"] < row["noise_bound"]
    assert set(found.crossings.values()) == {None}
    assert "pairs" not in found.constants.k1


def test_of_the_toy_all_three_ways_find_the_derivative_and_the_bounds_hold() -> None:
    items = [(picture(), HALF), (picture(1), "dark left, light right")]
    found = estimate_bounds(toy.editor(16), items, Settings(steps=50, guidance=2.0), ratios=[0.2, 0.5, 0.8])
    levels = [toy.TRAINED.level(i / 10) for i in range(1, 11)]
    exact = max(float(v.sigma / (v.alpha**2 * toy.SPREAD**2 + v.sigma**2)) for v in levels)
    assert found.constants.k1["random"].largest == pytest.approx(exact, rel=1e-3)
    assert found.constants.k1["pairs"].largest == pytest.approx(exact, rel=1e-3)
    power = max(float(v.sigma / (v.alpha**2 * toy.SPREAD**2 + v.sigma**2)) for v in (levels[1], levels[4], levels[7]))
    assert found.constants.k1["power"].largest == pytest.approx(power, rel=1e-3)
    for row in found.rows:
        for ending in ("", "_guided"):
            assert row[f"noise_error{ending}"] <= row[f"noise_bound{ending}"]
            assert row[f"encode_error{ending}"] <= row[f"gronwall_bound{ending}"]
        assert row["gronwall_bound_guided"] == pytest.approx(2 * row["gronwall_bound"])
        assert row["encode_bound_guided"] == pytest.approx(2 * row["encode_bound"])


@pytest.fixture(scope="module")
def measured() -> tuple[Bounds, list[tuple[int, int]]]:
    editor, told = Editor.from_pretrained(tiny.pipeline()), []

    def on_step(done: int, total: int) -> None:
        told.append((done, total))

    items = [(picture(), "a red car"), (picture(1), "a dog")]
    settings = Settings(steps=5, resolution=16)
    return estimate_bounds(editor, items, settings, ratios=[0.4, 0.8], seed=3, on_step=on_step), told


def test_a_real_network_is_differentiated_and_the_ways_agree_in_size(
    measured: tuple[Bounds, list[tuple[int, int]]],
) -> None:
    found, told = measured
    assert told == [(i, 6) for i in range(1, 7)]
    ways = found.constants.k1
    assert set(ways) == {"random", "pairs", "power"}
    assert ways["power"].count == 6
    # The power iteration looks for the steepest direction; a random one is rarely near it.
    assert ways["power"].largest > ways["random"].median > 0.0
    assert found.constants.guidance == 7.5
    assert [row["ratio"] for row in found.rows] == [0.4, 0.8]
    assert found.rows[1]["encode_bound_guided"] == pytest.approx(7.5 * found.rows[1]["encode_bound"])
    assert found.items == 2


def test_the_report_holds_every_number(measured: tuple[Bounds, list[tuple[int, int]]]) -> None:
    found, _ = measured
    told = found.as_dict()
    assert told["constants"]["k2"]["mean"] == found.constants.k2.mean
    assert told["rows"][0]["tau"] == found.rows[0]["tau"]
    report = report_of(found, told)
    table = list(csv.DictReader(io.StringIO(csv_text(*report.tables["bounds"]))))
    assert [float(row["encode_error"]) for row in table] == [row["encode_error"] for row in found.rows]
    page = report.page.html()
    assert page.count("<svg") == 2
    assert "://" not in page
    for text in ("K1", "K2", f"{found.constants.lipschitz:.3g}", f"{found.constants.k2.mean:.3g}"):
        assert text in page


def test_infinite_bounds_are_null_in_the_data() -> None:
    base = estimate_bounds(toy.editor(16), [(picture(), HALF)], SETTINGS, ratios=[0.5])
    told = replace(base, rows=({**base.rows[0], "encode_bound": math.inf},)).as_dict()
    assert told["rows"][0]["encode_bound"] is None


@pytest.mark.parametrize("ratios", [[], [0.5, 0.5], [0.8, 0.2], [0.0, 0.5], [0.5, 1.1]])
def test_ratios_that_make_no_curve_are_refused(ratios: list[float]) -> None:
    with pytest.raises(InputError, match="rising"):
        estimate_bounds(toy.editor(16), [(picture(), HALF)], SETTINGS, ratios=ratios)


def test_no_items_are_refused() -> None:
    with pytest.raises(InputError, match="no item"):
        estimate_bounds(toy.editor(16), [], SETTINGS)
