"""What families need of the core, each shown alone: told guidance, noised backgrounds, ragged texts, patches, grids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from tests.support import toy
from wordbrush.diffusion import noise
from wordbrush.diffusion.ask import Ask, drive
from wordbrush.diffusion.denoiser import MASK, Conditioning, NetworkDenoiser, Prediction, convert
from wordbrush.diffusion.guidance import guided, norm_kept, token_norm
from wordbrush.diffusion.schedule import FlowSchedule, Level, shift_of
from wordbrush.editor import Editor
from wordbrush.errors import SettingsError
from wordbrush.models.model import GUIDANCE, Guidance, Model
from wordbrush.settings import Settings

DARK, HALF = "dark left, dark right", "dark left, light right"
STEPS: dict[str, Any] = {"steps": 8, "ratio": 0.75, "maps": 2, "strength": 0.5, "edges": "cells", "solver": "ddim"}


def picture() -> Any:
    return (64 + np.random.default_rng(0).integers(-12, 13, (32, 32, 3))).astype(np.uint8)


def told_model() -> tuple[Model, list[Tensor]]:
    """The toy as a model that is told its guidance, and what it was told."""
    told: list[Tensor] = []

    def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        told.append(conditioning[GUIDANCE])
        return toy.exact_noise(x, labels, conditioning)

    denoiser = NetworkDenoiser(network, "epsilon")
    return replace(toy.model(), denoiser=denoiser, policy=Guidance("embedded", 3.5)), told


@pytest.mark.parametrize(("asked", "scale"), [(None, 3.5), (2.0, 2.0)])
def test_a_scale_is_told_in_the_decode_alone_and_costs_no_second_evaluation(asked: float | None, scale: float) -> None:
    model, told = told_model()
    editor = Editor(model)
    result = editor.edit(picture(), HALF, DARK, guidance=asked, **STEPS)
    spent = result.report.evaluations
    assert editor.plan((32, 32), settings=Settings.from_preset(guidance=asked, **STEPS)).evaluations["decode"] == 6
    assert (spent["contrast"], spent["decode"]) == (4, 6)
    numbers = torch.cat(told)
    assert (numbers == 1.0).sum() == spent["contrast"] + spent["invert"]
    assert (numbers == scale).sum() == spent["decode"]


def test_a_scale_of_the_inversion_is_told_too() -> None:
    model, told = told_model()
    result = Editor(model).edit(picture(), HALF, DARK, inversion_guidance=2.0, **STEPS)
    assert (torch.cat(told) == 2.0).sum() == result.report.evaluations["invert"] > 0


def test_models_without_two_estimates_refuse_what_would_need_them() -> None:
    without = Editor(replace(toy.model(), policy=Guidance("none", 1.0)))
    for editor, how in ((Editor(told_model()[0]), "as a number"), (without, "has no guidance")):
        with pytest.raises(SettingsError, match=f"negative text.*{how}"):
            editor.edit(picture(), HALF, negative=DARK, **STEPS)
    for switch in ("guidance", "inversion_guidance"):
        with pytest.raises(SettingsError, match="guidance 2 means nothing"):
            without.edit(picture(), HALF, **(STEPS | {switch: 2.0}))


def test_a_noised_background_is_one_draw_at_every_level_and_costs_nothing() -> None:
    editor = Editor(replace(toy.model(), encoding="noise", sibling="owner/slow"))
    session, settings = editor.open(picture()), Settings.from_preset(**STEPS)
    z0 = session.latent()
    drawn = noise.normal(7, "encoding", 0, z0.shape[1:])[None]
    result = session.edit(HALF, DARK, seed=7, settings=settings)
    path = session.run(_path(session, settings, 7))
    for level, x in zip(session.levels(settings), path, strict=True):
        assert torch.allclose(x, float(level.alpha) * z0 + float(level.sigma) * drawn, atol=1e-6)
    assert "invert" not in result.report.evaluations
    assert editor.plan((32, 32), settings=settings).evaluations["invert"] == 0
    assert result.report.noise is None
    assert any("owner/slow" in warning and "noised" in warning for warning in result.report.warnings)
    kept = ~(result.mask.values > 0)
    assert (np.asarray(result.image)[kept] == picture()[kept]).all()


def _path(session: Any, settings: Settings, seed: int) -> Any:
    from wordbrush.diffedit import trajectory

    edit = yield from session.prepared(HALF, DARK, seed, settings)
    return (yield from trajectory(edit))


def test_encoding_is_a_switch_over_the_models_own() -> None:
    few, plain = Editor(replace(toy.model(), encoding="noise")), toy.editor()

    def drawn(**switches: Any) -> list[Any]:
        return [np.asarray(editor.edit(picture(), HALF, DARK, **STEPS, **switches).image) for editor in (few, plain)]

    inverted, noised, own = drawn(encoding="invert"), drawn(encoding="noise"), drawn()
    assert (inverted[0] == inverted[1]).all()
    assert (noised[0] == noised[1]).all()
    assert (own[0] == noised[0]).all()
    assert (own[1] == inverted[1]).all()
    assert (noised[0] != inverted[0]).any()
    assert not few.edit(picture(), HALF, DARK, encoding="invert", **STEPS).report.warnings
    with pytest.raises(SettingsError, match="no inversion to check"):
        few.edit(picture(), HALF, DARK, check_inversion=True, **STEPS)
    with pytest.raises(SettingsError, match="no inversion to check"):
        few.open(picture()).reconstruction(DARK)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_a_ratio_below_the_first_step_is_told_and_its_advice_works(steps: int) -> None:
    with pytest.raises(SettingsError, match=f"of {steps} steps? is no step: give") as told:
        toy.editor().edit(picture(), HALF, DARK, **(STEPS | {"steps": steps, "ratio": 0.4 / steps}))
    advised = float(str(told.value).partition("give ")[2].split()[0])
    result = toy.editor().edit(picture(), HALF, DARK, **(STEPS | {"steps": steps, "ratio": advised}))
    assert result.report.evaluations["decode"] >= 1


def test_a_canvas_holds_whole_patches() -> None:
    editor = Editor(replace(toy.model(), patch=12))
    assert editor.model.grid == 12
    for side in editor.plan((32, 20)).latent_size:
        assert side % 12 == 0
    result = editor.edit(picture()[:20], HALF, DARK, **STEPS)
    assert result.image.size == (32, 20)


def ragged(tokens: int, value: float) -> Conditioning:
    texts, meant = torch.full((1, tokens, 3), value), torch.ones(1, tokens, dtype=torch.bool)
    return Conditioning({"text": texts, MASK: meant, "pooled": torch.full((1, 3), value)})


def test_texts_of_unlike_lengths_stand_in_one_batch_and_come_out_as_they_were() -> None:
    parts = [ragged(3, 1.0), ragged(5, 2.0), ragged(1, 3.0)]
    joined = Conditioning.concat(parts)
    assert joined["text"].shape == (3, 5, 3)
    assert joined[MASK].sum(1).tolist() == [3, 5, 1]
    assert joined["pooled"].shape == (3, 3)
    assert joined["text"].sum((1, 2)).tolist() == [9.0, 30.0, 9.0]
    for text, part in zip(joined.texts("text"), parts, strict=True):
        assert torch.equal(text, part["text"][0])
    assert torch.equal(joined.select([1, 0])["pooled"][:, 0], torch.tensor([2.0, 1.0]))
    fixed = [Conditioning({"text": torch.zeros(1, tokens, 3)}) for tokens in (3, 5)]
    with pytest.raises(RuntimeError, match="Sizes of tensors"):
        Conditioning.concat(fixed)


def test_a_driver_joins_ragged_texts_and_keeps_others_apart() -> None:
    from wordbrush.engine.calls import joinable

    x, level = torch.zeros(1, 3, 4, 4), Level.of(0.5, 0.8, 0.6, 500.0)
    asks = [Ask(x, level, ragged(tokens, 1.0)) for tokens in (3, 5)]
    fixed = [Ask(x, level, Conditioning({"text": torch.zeros(1, tokens, 3)})) for tokens in (3, 5)]
    assert joinable(*asks)
    assert not joinable(*fixed)


def estimates(x: Tensor, level: Level, seed: int) -> Prediction:
    velocity = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    return convert(velocity, x, level, "flow")


def test_the_norm_of_every_patch_is_that_under_the_text() -> None:
    x, level = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(0)).double(), FlowSchedule().level(0.6)
    negative, positive = estimates(x, level, 1), estimates(x, level, 2)
    found = norm_kept(token_norm)(negative, positive, 4.0, x, level)
    v, p, n = (e.eps - e.x0 for e in (found, positive, negative))
    mixed = n + 4.0 * (p - n)

    def tokens(t: Tensor) -> Tensor:  # (row, patch row, patch column, 16)
        return t.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).flatten(3)

    assert torch.allclose(tokens(v).norm(dim=-1), tokens(p).norm(dim=-1))
    directions = torch.nn.functional.cosine_similarity(tokens(v), tokens(mixed), dim=-1)
    assert torch.allclose(directions, torch.ones_like(directions))
    assert torch.allclose(found.x0 * (1 - level.sigma) + level.sigma * found.eps, x)


@pytest.mark.parametrize("every", [1, 2])
def test_another_way_to_join_takes_the_place_of_the_plain_one(every: int) -> None:
    calls: list[tuple[Prediction, Prediction, float]] = []
    x, level = torch.randn(1, 4, 4, 4).double(), FlowSchedule().level(0.6)

    def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        return conditioning["text"].to(x)[:, :, None, None] * x

    def join(negative: Prediction, positive: Prediction, scale: float, x: Tensor, level: Level) -> Prediction:
        calls.append((negative, positive, scale))
        return positive

    texts = [Conditioning({"text": torch.full((1, 4), value)}) for value in (1.0, 2.0)]
    denoiser = NetworkDenoiser(network, "flow")
    estimate = guided(texts[1], texts[0], 3.0, join=join, every=every)
    for _ in range(every):
        found = drive(estimate(x, level), denoiser)
        assert torch.allclose(found.eps, denoiser(x, level, texts[1]).eps)
    assert len(calls) == every
    for negative, positive, scale in calls:
        assert scale == 3.0
        assert torch.allclose(negative.eps, denoiser(x, level, texts[0]).eps)
        assert torch.allclose(negative.x0, denoiser(x, level, texts[0]).x0)
        assert torch.allclose(positive.x0, denoiser(x, level, texts[1]).x0)


DYNAMIC: Mapping[str, Any] = {"use_dynamic_shifting": True, "max_shift": 0.9, "max_image_seq_len": 8192}


@pytest.mark.parametrize("steps", [1, 2, 4, 28])
@pytest.mark.parametrize(
    ("config", "tokens"),
    [({"shift": 6.0}, 4096), (DYNAMIC, 1024), ({**DYNAMIC, "shift_terminal": 0.02}, 4096),
     ({**DYNAMIC, "time_shift_type": "linear"}, 4096)],
)  # fmt: skip
def test_grids_that_pipelines_give_are_as_the_scheduler_makes_them(
    config: Mapping[str, Any], tokens: int, steps: int
) -> None:
    if steps == 1 and "shift_terminal" in config:
        pytest.skip("the scheduler divides by zero")
    theirs = FlowMatchEulerDiscreteScheduler(**config)
    shift = shift_of(config, tokens)
    mu = shift if config.get("time_shift_type") == "linear" else float(np.log(shift))
    theirs.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps).tolist(), mu=mu)
    ours = FlowSchedule(shift=shift, rule="once", terminal=config.get("shift_terminal")).grid(steps)[::-1]
    assert [float(level.sigma) for level in ours] == pytest.approx(theirs.sigmas.tolist(), abs=1e-6)
    assert [float(level.label) for level in ours][:-1] == pytest.approx(theirs.timesteps.tolist(), abs=1e-3)


@pytest.mark.parametrize("steps", [2, 7, 50])
def test_a_told_time_may_be_apart_from_the_level(steps: int) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="linear")
    labels = np.linspace(1000, 1, steps).astype(np.int64)
    theirs.set_timesteps(timesteps=labels.astype(np.float32).tolist(), sigmas=(labels / 1000).tolist(), mu=3.25)
    schedule = FlowSchedule(shift=3.25, rule="told")
    ours = schedule.grid(steps)[::-1]
    assert [float(level.sigma) for level in ours] == pytest.approx(theirs.sigmas.tolist(), abs=1e-6)
    assert [round(float(level.label), 3) for level in ours][:-1] == labels.tolist()
    middle = schedule.level(0.5)  # u with 3.25 u / (1 + 2.25 u) = .5
    assert float(middle.label) == pytest.approx(1000 / 4.25)
