"""Against the DiffEdit pipeline of the installed diffusers, on tiny real components.

Equal, given the same noises: the maps up to its factor, the masks of the preset `diffusers` (for v-networks too, where
it contrasts v and we eps: at one level they differ by a factor), the inverted latents at guidance 1. Not equal, each
shown below: what it leaves outside the mask, its mask of equal texts, its mask beside batch-mates, and its inversion
from a config without `set_alpha_to_one`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler
from numpy.typing import NDArray
from torch import Tensor

from tests.support import tiny, toy
from tests.support.closed_forms import down, rms, up
from wordbrush.diffusion.ask import drive
from wordbrush.diffusion.contrast import differences, disagreement
from wordbrush.diffusion.denoiser import Conditioning, NetworkDenoiser, Parametrisation
from wordbrush.diffusion.position import depth_of
from wordbrush.diffusion.schedule import Level, Schedule, schedule_from_config
from wordbrush.engine.driver import Driver
from wordbrush.region.mask import Mask
from wordbrush.region.threshold import Contrast, rescale
from wordbrush.settings import Settings

PRESET = Settings.from_preset("diffusers")
WIDTHS: dict[tiny.Kind, int] = {"sd1": 32, "sd2": 48}
PARAMETRISATION: dict[tiny.Kind, Parametrisation] = {"sd1": "epsilon", "sd2": "v_prediction"}
SIDE, GUIDANCE = 16, 7.5
CONSTANT = [1.0, -1.0, 1.0, -1.0]


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text(seed: int, kind: tiny.Kind = "sd1") -> Tensor:
    """Prompt embeddings (1, 7, width)."""
    return drawn(seed, 1, 7, WIDTHS[kind])


SOURCE, TARGET, NEGATIVE = 11, 12, 13
Z0 = drawn(1, 1, 4, SIDE, SIDE)


@cache
def pipeline(kind: tiny.Kind = "sd1", *, alpha_one: bool = True, constant: bool = False) -> Any:
    """The pipeline; `constant` makes its real UNet estimate the same noise whatever it sees."""
    from diffusers import StableDiffusionDiffEditPipeline

    scheduler = tiny.scheduler(kind, set_alpha_to_one=alpha_one)
    inverse = DDIMInverseScheduler.from_config(scheduler.config)
    parts: dict[str, Any] = {"scheduler": scheduler, "inverse_scheduler": inverse}
    pipe = tiny.pipeline(kind, pipeline_class=StableDiffusionDiffEditPipeline, **parts)
    pipe.set_progress_bar_config(disable=True)
    if constant:
        with torch.no_grad():
            pipe.unet.conv_out.weight.zero_()
            pipe.unet.conv_out.bias.copy_(torch.tensor(CONSTANT))
    return pipe


def ours(pipe: Any, kind: tiny.Kind = "sd1") -> tuple[Schedule, NetworkDenoiser]:
    """Our half over the very same UNet and config."""

    def network(x: Tensor, labels: Tensor, conditioning: Conditioning) -> Tensor:
        with torch.no_grad():
            answer: Tensor = pipe.unet(x, labels, encoder_hidden_states=conditioning["text"]).sample
        return answer

    return schedule_from_config(pipe.scheduler.config), NetworkDenoiser(network, PARAMETRISATION[kind])


def their_mask(pipe: Any, kind: tiny.Kind = "sd1", **changes: Any) -> NDArray[np.int64]:
    """Its mask of latents given in place of a picture: four channels are taken for latents."""
    arguments: dict[str, Any] = {
        "image": Z0,
        "source_prompt_embeds": text(SOURCE, kind),
        "target_prompt_embeds": text(TARGET, kind),
        "source_negative_prompt_embeds": text(NEGATIVE, kind),
        "target_negative_prompt_embeds": text(NEGATIVE, kind),
        "num_maps_per_mask": PRESET.maps,
        "guidance_scale": GUIDANCE,
        "generator": torch.Generator().manual_seed(3),
    }
    mask: NDArray[np.int64] = pipe.generate_mask(**(arguments | changes))
    return mask


def our_contrast(pipe: Any, kind: tiny.Kind = "sd1", target: int = TARGET, z0: Tensor = Z0) -> Contrast:
    """Our contrast under the preset `diffusers`, from the noises that generator 3 gives its pipeline."""
    schedule, denoiser = ours(pipe, kind)
    noises = drawn(3, PRESET.maps, 4, SIDE, SIDE)
    query, reference = (Conditioning({"text": text(seed, kind)}) for seed in (target, SOURCE))
    (found,) = drive(differences(z0, [contrast_level(schedule)], query, reference, [list(noises)]), denoiser)
    raw = disagreement(found, sign=PRESET.sign, norm=PRESET.norm).numpy()
    return Contrast(raw, rescale(raw, PRESET.rescale))


def contrast_level(schedule: Schedule) -> Level:
    assert PRESET.strength_axis == "grid"
    return schedule.grid(PRESET.steps)[depth_of(PRESET.strength[0], PRESET.steps)]


@contextmanager
def overheard(unet: Any) -> Iterator[list[Tensor]]:
    """Collects what the UNet answers."""
    answers: list[Tensor] = []
    handle = unet.register_forward_hook(lambda module, inputs, output: answers.append(output.sample))
    try:
        yield answers
    finally:
        handle.remove()


# Where they agree.


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
@pytest.mark.parametrize("ratio", [1.0, 2.0, 2.5, 3.0])
def test_masks_are_equal_with_equal_negatives(kind: tiny.Kind, ratio: float) -> None:
    pipe = pipeline(kind)
    theirs = their_mask(pipe, kind, mask_thresholding_ratio=ratio)[0]
    contrast = our_contrast(pipe, kind)
    by_rule = contrast.threshold(ratio / 2, "ratio")
    by_rescale = Contrast(contrast.raw, rescale(contrast.raw, "ratio", ratio=ratio)).threshold(0.5)
    assert 0 < theirs.sum() < theirs.size
    np.testing.assert_array_equal(by_rule.values, theirs)
    np.testing.assert_array_equal(by_rescale.values, theirs)
    if ratio == 3.0:
        np.testing.assert_array_equal(contrast.threshold(PRESET.threshold, PRESET.rule).values, theirs)


def test_raw_maps_are_equal_up_to_one_minus_its_guidance() -> None:
    pipe = pipeline()
    with overheard(pipe.unet) as answers:
        their_mask(pipe)
    # It takes the first of each pair for the negative, but that is the prompt: so its guidance runs the wrong way.
    first, second, third, fourth = answers[0].chunk(4)
    guided = [low + GUIDANCE * (high - low) for low, high in ((first, second), (third, fourth))]
    raw = (guided[1] - guided[0]).abs().mean(dim=(0, 1)).numpy()
    torch.testing.assert_close(second, fourth, rtol=0, atol=1e-6)
    np.testing.assert_allclose(raw, (GUIDANCE - 1) * our_contrast(pipe).raw, rtol=1e-4, atol=1e-6)


def test_the_preset_looks_where_diffusers_looks() -> None:
    schedule, _ = ours(pipeline())
    assert float(contrast_level(schedule).label) == 481
    seen: list[float] = []
    handle = pipeline().unet.register_forward_pre_hook(lambda module, inputs: seen.append(float(inputs[1])))
    their_mask(pipeline())
    handle.remove()
    assert seen == [481.0]


def inverted(pipe: Any, steps: int = 10, ratio: float = 0.8) -> list[Tensor]:
    """Its inverted latents, least noisy first; it gives them noisiest first."""
    arguments = {"image": Z0, "prompt_embeds": text(SOURCE), "guidance_scale": 1.0}
    latents: Tensor = pipe.invert(num_inference_steps=steps, inpaint_strength=ratio, **arguments).latents
    return [*latents[0].flip(0)[:, None]]


def their_decode(pipe: Any, mask: Tensor, states: list[Tensor], steps: int = 10) -> Tensor:
    """Its clean latents from inverted ones, least noisy first, without guidance."""
    found: Tensor = pipe(
        prompt_embeds=text(TARGET),
        mask_image=mask,
        image_latents=torch.stack([x[0] for x in states]).flip(0)[None],
        num_inference_steps=steps,
        guidance_scale=1.0,
        output_type="latent",
    ).images
    return found


def our_trajectory(pipe: Any, steps: int = 10, ratio: float = 0.8) -> tuple[tuple[Level, ...], list[Tensor]]:
    schedule, denoiser = ours(pipe)
    levels = schedule.grid(steps)[: depth_of(ratio, steps) + 1]
    reference = Conditioning({"text": text(SOURCE)})
    return levels, up(denoiser, Z0, levels, reference, label="target")


@pytest.mark.parametrize(("steps", "ratio"), [(10, 0.8), (25, 0.4), (10, 1.0)])
def test_inverted_latents_are_equal_at_guidance_one(steps: int, ratio: float) -> None:
    theirs = inverted(pipeline(), steps, ratio)
    _, trajectory = our_trajectory(pipeline(), steps, ratio)
    assert len(theirs) == len(trajectory) - 1 == round(steps * ratio)
    for one, other in zip(trajectory[1:], theirs, strict=True):
        assert rms(one - other) < 1e-4 * rms(other)


def test_decodes_under_a_full_mask_are_equal() -> None:
    pipe = pipeline()
    levels, trajectory = our_trajectory(pipe)
    theirs = their_decode(pipe, torch.ones(SIDE, SIDE), trajectory[1:])
    _, denoiser = ours(pipe)
    x = down(denoiser, trajectory[-1], levels, Conditioning({"text": text(TARGET)}))[-1]
    assert rms(x - theirs) < 1e-4 * rms(theirs)


# Where they do not, and why.


def test_without_alpha_one_its_inversion_is_off_from_the_first_step_on() -> None:
    short = pipeline(alpha_one=False)
    _, trajectory = our_trajectory(short)
    # Sigma of the level it takes for the clean one, 0.029, times the estimated noise, 0.34.
    assert rms(inverted(short)[0] - trajectory[1]) == pytest.approx(0.0093, rel=0.1)


def recovered(pipe: Any, steps: int) -> tuple[Tensor, Tensor]:
    """What is left of the picture outside everything, by diffusers and by us, under constant noise."""
    theirs = their_decode(pipe, torch.zeros(SIDE, SIDE), inverted(pipe, steps), steps)
    levels, trajectory = our_trajectory(pipe, steps)
    _, denoiser = ours(pipe)
    mask = torch.zeros(1, 1, SIDE, SIDE)
    query = Conditioning({"text": text(TARGET)})
    return theirs, down(denoiser, trajectory[-1], levels, query, path=trajectory, mask=mask)[-1]


@pytest.mark.parametrize(("steps", "alpha_one", "left"), [(10, False, 0.0122), (50, False, 0.0122), (10, True, 0.0413)])
def test_it_leaves_noise_outside_the_mask_and_we_leave_the_picture(steps: int, alpha_one: bool, left: float) -> None:
    theirs, found = recovered(pipeline(alpha_one=alpha_one, constant=True), steps)
    assert rms(theirs - Z0) == pytest.approx(left, abs=0.0002)
    assert torch.equal(found, Z0)


def test_equal_texts_are_all_white_there_and_empty_here() -> None:
    same = text(SOURCE)
    everything: dict[str, Any] = {
        f"{side}{middle}_prompt_embeds": same for side in ("source", "target") for middle in ("", "_negative")
    }
    theirs = their_mask(pipeline(constant=True), **everything)
    assert theirs.mean() == 1.0
    contrast = our_contrast(pipeline(), target=SOURCE)
    assert contrast.is_flat
    for rule in ("fixed", "otsu", "quantile", "area", "ratio"):
        assert contrast.threshold(rule=rule).is_empty


def test_batch_mates_change_its_mask_and_not_ours() -> None:
    pipe, mate = pipeline(), text(TARGET) * 6 - text(SOURCE) * 5

    def generators(count: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(50 + index) for index in range(count)]

    alone = their_mask(pipe, generator=generators(10))[0]
    source, negative = text(SOURCE), text(NEGATIVE)
    pairs = {
        "target_prompt_embeds": (text(TARGET), mate),
        "source_prompt_embeds": (source, source),
        "source_negative_prompt_embeds": (negative, negative),
        "target_negative_prompt_embeds": (negative, negative),
    }
    changes: dict[str, Any] = {name: torch.cat(pair) for name, pair in pairs.items()}
    changes |= {"image": torch.cat([Z0, drawn(2, 1, 4, SIDE, SIDE)]), "generator": generators(20)}
    together = their_mask(pipe, **changes)[0]
    assert abs(alone.mean() - together.mean()) > 0.05

    schedule, denoiser = ours(pipe)
    noises = [torch.randn(4, SIDE, SIDE, generator=generator) for generator in generators(10)]

    def mask_of(limit: int) -> Mask:
        query, reference = Conditioning({"text": text(TARGET)}), Conditioning({"text": source})
        driver = Driver(replace(toy.model(), denoiser=denoiser), batch_limit=limit)
        (found,) = driver.value(differences(Z0, [contrast_level(schedule)], query, reference, [noises]))
        raw = disagreement(found).numpy()
        return Contrast(raw, rescale(raw, "ratio")).threshold(0.5)

    for limit in (2, 20):
        np.testing.assert_array_equal(mask_of(limit).values, alone)


def test_the_mask_given_is_binarised_in_place_there_and_untouched_here() -> None:
    pipe = pipeline(constant=True)
    soft = torch.full((1, 1, SIDE, SIDE), 0.7)
    their_decode(pipe, soft, inverted(pipe))
    assert float(soft.min()) == 1.0
    soft.fill_(0.7)
    levels, trajectory = our_trajectory(pipe)
    query = Conditioning({"text": text(TARGET)})
    down(ours(pipe)[1], trajectory[-1], levels, query, path=trajectory, mask=soft)
    assert torch.equal(soft, torch.full_like(soft, 0.7))


def test_a_mask_without_guidance_crashes_there() -> None:
    with pytest.raises(RuntimeError):
        their_mask(pipeline(), guidance_scale=1.0)
