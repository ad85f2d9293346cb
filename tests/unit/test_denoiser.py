"""Parametrisations, conditioning and guidance."""

from __future__ import annotations

from typing import Any, cast, get_args

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.closed_forms import Counting, gaussian_network, posterior, rows, stable_diffusion, unit_noise
from wordbrush.diffusion.ask import drive
from wordbrush.diffusion.denoiser import (
    Conditioning,
    NetworkDenoiser,
    Parametrisation,
    Prediction,
    convert,
    reanchored,
)
from wordbrush.diffusion.guidance import combine, guided
from wordbrush.diffusion.schedule import FlowSchedule, Level
from wordbrush.diffusion.solvers import DDIM, DPM2M
from wordbrush.errors import ModelError

KINDS: tuple[Parametrisation, ...] = get_args(Parametrisation)
VARIANCE_PRESERVING: tuple[Parametrisation, ...] = ("epsilon", "v_prediction", "sample")


def assert_same(one: Prediction, other: Prediction, tolerance: float) -> None:
    torch.testing.assert_close(one.x0, other.x0, rtol=0, atol=tolerance)
    torch.testing.assert_close(one.eps, other.eps, rtol=0, atol=tolerance)


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("kind", ["epsilon", "sample", "flow"])
def test_every_parametrisation_predicts_the_same_on_a_flow(kind: Parametrisation, variance: float) -> None:
    schedule = FlowSchedule()
    x, level = unit_noise(3, 4, 5, 6), Level.stack([schedule.level(t) for t in (0.001, 0.4, 0.999)])
    denoiser = NetworkDenoiser(gaussian_network(schedule, kind, variance), kind)
    assert_same(denoiser(x, level, rows(3)), posterior(x, level, variance), 1e-10)


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("kind", VARIANCE_PRESERVING)
def test_every_parametrisation_predicts_the_same_on_the_sd_schedule(kind: Parametrisation, variance: float) -> None:
    schedule = stable_diffusion()
    x, level = unit_noise(3, 4, 5, 6), Level.stack([schedule.at_label(k) for k in (0, 499, 999)])
    denoiser = NetworkDenoiser(gaussian_network(schedule, kind, variance), kind)
    assert_same(denoiser(x, level, rows(3)), posterior(x, level, variance), 1e-10)


@pytest.mark.parametrize("kind", VARIANCE_PRESERVING)
@pytest.mark.parametrize(("here", "there"), [(0.0, 0.02), (0.4, 0.42), (0.8, 1.0)])
def test_told_another_level_every_parametrisation_keeps_the_same_noise(
    kind: Parametrisation, here: float, there: float
) -> None:
    schedule, x = stable_diffusion(), unit_noise(2, 4, 5, 6)
    level, told = schedule.level(here), schedule.level(there)
    found = NetworkDenoiser(gaussian_network(schedule, kind, 0.7), kind)(x, level, rows(2), label=told)
    expected = reanchored(posterior(x, told, 0.7), x, level)
    assert_same(found, expected, 1e-10)
    torch.testing.assert_close(level.alpha * found.x0 + level.sigma * found.eps, x, rtol=0, atol=1e-12)


def test_told_another_level_a_flow_keeps_its_velocity() -> None:
    schedule, x = FlowSchedule(), unit_noise(1, 4, 5, 6)
    here, there = schedule.level(0.3), schedule.level(0.35)
    velocity = gaussian_network(schedule, "flow", 1.0)(x, there.labels(1), rows(1))
    found = NetworkDenoiser(gaussian_network(schedule, "flow", 1.0), "flow")(x, here, rows(1), label=there)
    torch.testing.assert_close(found.eps - found.x0, velocity, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_clean_level_the_picture_is_its_own_estimate(kind: Parametrisation) -> None:
    x, output = unit_noise(2, 4, 5, 6), unit_noise(2, 4, 5, 6, seed=1)
    found = convert(output, x, Level.of(0.0, 1.0, 0.0, 0.0), kind)
    torch.testing.assert_close(found.x0, x, rtol=0, atol=0)
    assert found.eps.isfinite().all()


def test_an_x0_network_says_nothing_of_the_noise_in_a_clean_row_and_the_usual_elsewhere() -> None:
    schedule = stable_diffusion()
    x, output = unit_noise(2, 4, 5, 6), unit_noise(2, 4, 5, 6, seed=1)
    level = Level.stack([schedule.level(0.0), schedule.level(0.5)])
    found = convert(output, x, level, "sample")
    assert not found.eps[0].any()
    assert torch.equal(found.x0[1], output[1])
    alpha, sigma = level.scales(x)
    torch.testing.assert_close(alpha * found.x0 + sigma * found.eps, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time", [1e-4, 0.1, 0.5, 0.9, 1 - 1e-4])
def test_predictions_add_up_to_x(kind: Parametrisation, time: float) -> None:
    x, output, level = unit_noise(2, 4, 5, 6), unit_noise(2, 4, 5, 6, seed=1), FlowSchedule().level(time)
    if kind == "v_prediction":  # defined where alpha**2 + sigma**2 is 1
        level = stable_diffusion().level(max(time, 0.001))
    found = convert(output, x, level, kind)
    torch.testing.assert_close(level.alpha * found.x0 + level.sigma * found.eps, x, rtol=0, atol=1e-11)


def test_networks_are_told_labels_one_a_row_in_the_precision_they_came() -> None:
    seen: list[Tensor] = []

    def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        seen.append(labels)
        return x

    schedule, x = stable_diffusion(), unit_noise(2, 4, 3, 3)
    denoiser = NetworkDenoiser(network, "epsilon")
    denoiser(x, schedule.level(0.5), rows(2))
    denoiser(x, Level.stack([schedule.level(0.1), schedule.level(0.2)]), rows(2))
    denoiser(x, schedule.level(0.0), rows(2), label=schedule.level(0.02))
    assert [labels.tolist() for labels in seen] == [[499.0, 499.0], [99.0, 199.0], [19.0, 19.0]]


def test_an_unknown_parametrisation_is_named() -> None:
    unknown = cast("Parametrisation", "score")
    with pytest.raises(ModelError, match="score"):
        NetworkDenoiser(lambda x, labels, conditioning: x, unknown)
    with pytest.raises(ModelError, match="score"):
        convert(torch.zeros(1), torch.zeros(1), Level.of(0.5, 0.5, 0.5, 499.0), unknown)


def test_conditioning_selects_and_joins_rows() -> None:
    both = Conditioning({"text": torch.arange(6.0).reshape(3, 2), "pooled": torch.arange(3.0)})
    assert both.rows == 3
    assert set(both) == {"text", "pooled"}
    assert len(both) == 2
    picked = both.select([2, 0])
    assert picked["text"].tolist() == [[4.0, 5.0], [0.0, 1.0]]
    assert picked["pooled"].tolist() == [2.0, 0.0]
    assert both.select(slice(1, 2))["pooled"].tolist() == [1.0]
    joined = Conditioning.concat([picked, both.select([1])])
    assert joined["pooled"].tolist() == [2.0, 0.0, 1.0]
    assert joined.rows == 3
    assert Conditioning({}).rows == 0
    with pytest.raises(ModelError, match="rows"):
        Conditioning({"text": torch.zeros(2, 1), "pooled": torch.zeros(3)})


def _text_denoiser() -> Counting:
    """Estimates its text as the noise, one number a row."""

    def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        return conditioning["text"].to(x)[:, :, None, None].expand_as(x) + labels.to(x).reshape(-1, 1, 1, 1) / 1000

    return Counting(NetworkDenoiser(network, "epsilon"))


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5, 7.5])
def test_guidance_is_linear_in_its_scale_row_by_row(scale: float, batched: bool) -> None:
    schedule, x = stable_diffusion(), unit_noise(3, 1, 2, 2)
    level = Level.stack([schedule.level(t) for t in (0.2, 0.5, 0.9)]) if batched else schedule.level(0.5)
    negative, positive = (Conditioning({"text": torch.tensor(v)[:, None]}) for v in ([1.0, 2.0, 3.0], [5.0, 1.0, 0.0]))
    plain, counted = _text_denoiser(), _text_denoiser()
    low, high = plain(x, level, negative), plain(x, level, positive)
    found = drive(guided(positive, negative, scale)(x, level), counted)
    expected = Prediction(*(combine(getattr(low, k), getattr(high, k), scale) for k in ("x0", "eps")))
    assert_same(found, expected, 1e-6)
    assert (counted.rows, counted.calls) == ((3, 1) if scale == 1.0 else (6, 1))
    if scale == 0.0:
        assert_same(found, low, 1e-12)
    if scale == 1.0:
        assert_same(found, high, 0.0)


def test_guidance_passes_on_the_level_told() -> None:
    schedule, x = stable_diffusion(), unit_noise(2, 1, 2, 2)
    here, there = schedule.level(0.4), schedule.level(0.5)
    told = Level.stack([there, there])
    texts = rows(2)
    plain = _text_denoiser()(x, here, texts, label=there)
    for label in (there, told):
        found = drive(guided(texts, texts, 3.0)(x, here, label=label), _text_denoiser())
        assert_same(found, plain, 1e-12)


class Sent(TorchDispatchMode):
    """Counts copies of tensors of main memory to device `meta`, where a GPU would have been waited for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        came = isinstance(answer, Tensor) and answer.is_meta
        self.copies += came and func is torch.ops.aten._to_copy.default and not args[0].is_meta
        return answer


@pytest.mark.parametrize("kind", KINDS)
def test_one_level_for_all_rows_stays_in_main_memory(kind: Parametrisation) -> None:
    x = torch.empty(2, 4, 3, 3, device="meta")
    levels = [Level.of(t, 1 - t, t, 1000 * t) for t in (0.2, 0.5, 0.8)]
    with Sent() as sent:
        for solver in (DDIM(), DPM2M()):
            walked = [(level, convert(x, x, level, kind)) for level in levels[1:]]
            assert solver(walked, levels[0]).device == x.device
    assert sent.copies == 0
    with Sent() as sent:
        convert(x, x, Level.stack(levels[:2]), kind)
    assert sent.copies == 2  # alpha and sigma, a number a row


def test_a_walk_joins_its_two_texts_once() -> None:
    x, level = unit_noise(2, 4, 3, 3), stable_diffusion().level(0.5)
    estimate = guided(rows(2), rows(2), 3.0)
    asked: list[Any] = [next(estimate(x, level)) for _ in range(2)]
    assert asked[0].conditioning is asked[1].conditioning
    assert asked[0].conditioning.rows == 4
