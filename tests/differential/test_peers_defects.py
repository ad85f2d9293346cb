"""Defects of the peers, each by a minimal test on real components; what explains their figures in the benchmark.

Those of the DiffEdit pipeline that need no picture are in `test_diffusers_diffedit.py`: noise left outside the mask, a
mask that depends on batch-mates, equal texts that edit everything, a mask step that crashes without guidance.

Where a test shows a crash it says so in its name; should a later diffusers mend it, the test fails and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from packaging.version import Version
from PIL import Image

from tests.support import tiny
from tests.support.closed_forms import rms
from wordbrush import Editor
from wordbrush.evaluation.peers.leditspp import all_channels
from wordbrush.evaluation.peers.pipelines import Pipelines, pipelines_of
from wordbrush.models.checkpoint.quiet import quiet
from wordbrush.settings import Settings

QUERY, REFERENCE = "a zebra on grass", "a horse on grass"
SIDE = 16


@cache
def peers(channels: int = 4, kind: tiny.Kind = "sd1") -> Pipelines:
    """Pipelines over tiny components; 8 channels are shaped like the pocket model."""
    unet = tiny.unet(kind, in_channels=channels, out_channels=channels, sample_size=8, layers_per_block=1)
    parts = {"unet": unet, "vae": tiny.vae(latent_channels=channels, sample_size=SIDE)}
    return pipelines_of(_kept(Editor.from_pretrained(tiny.pipeline(kind, **parts))))


_EDITORS: list[Editor] = []


def _kept(editor: Editor) -> Editor:
    _EDITORS.append(editor)  # pipelines are known as long as their editor lives
    return editor


@cache
def pocket() -> Editor:
    return Editor.from_pretrained("pocket")


def picture(side: int = SIDE) -> Image.Image:
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return coarse.resize((side, side), Image.Resampling.BICUBIC)


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def floats(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image) / 255.0


def apart(one: Image.Image, other: Image.Image) -> float:
    return float(np.sqrt(np.square(floats(one) - floats(other)).mean()))


@contextmanager
def rows(module: Any) -> Iterator[list[int]]:
    """Collects the rows of each call."""
    seen: list[int] = []

    def note(_module: Any, args: Any, keywords: Any) -> None:
        seen.append(len(args[0] if args else keywords["sample"]))

    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


# DiffEdit


def test_guidance_in_its_mask_step_changes_nothing_and_doubles_the_work() -> None:
    pipe, masks = peers().diffedit, {}
    for scale in (2.0, 7.5, 30.0):
        with peers().running(), rows(pipe.unet) as seen:
            masks[scale] = pipe.generate_mask(
                picture(), target_prompt=QUERY, source_prompt=REFERENCE, guidance_scale=scale, generator=drawn()
            )
        assert seen == [40]  # two texts x ten noises are needed
    assert 0 < masks[2.0].mean() < 1
    np.testing.assert_array_equal(masks[2.0], masks[7.5])
    np.testing.assert_array_equal(masks[2.0], masks[30.0])


def test_its_mask_step_encodes_the_picture_once_a_noise_each_a_little_else() -> None:
    pipe = peers().diffedit
    with peers().running(), rows(pipe.vae.encoder) as seen:
        copies = pipe.image_processor.preprocess(picture()).repeat_interleave(10, dim=0)
        latents = pipe.prepare_image_latents(copies, 10, torch.float32, torch.device("cpu"), drawn())
    assert seen == [10]
    spread = float(latents.std(dim=0).mean())
    posterior = pipe.vae.encode(copies[:1]).latent_dist
    assert spread == pytest.approx(float(posterior.std.mean()) * pipe.vae.config.scaling_factor, rel=0.2)
    assert spread > 0.1
    # Ours: one encode, the mean of the same posterior.
    session = _EDITORS[0].open(picture())
    with rows(pipe.vae.encoder) as ours:
        z0 = session.latent()
    assert ours == [1]
    assert rms(z0 - posterior.mean * pipe.vae.config.scaling_factor) < 1e-5


def test_nothing_to_edit_still_costs_it_the_autoencoders_error_on_every_pixel() -> None:
    pipelines, image = pipelines_of(pocket()), Image.open("examples/horse.png").convert("RGB")
    pipe = pipelines.diffedit
    common: dict[str, Any] = {"num_inference_steps": 4, "inpaint_strength": 0.25, "guidance_scale": 1.0}
    with pipelines.running():
        latents = pipe.invert("", image, generator=drawn(), **common).latents
        made = pipe(QUERY, mask_image=np.zeros((1, 16, 16)), image_latents=latents, **common).images[0]
    changed = (np.asarray(made) != np.asarray(image)).any(axis=-1).mean()
    assert apart(made, image) > 0.015  # encoded and decoded it is 0.017 away
    assert changed > 0.9
    empty = Image.new("L", image.size, 0)
    ours = pocket().edit(image, QUERY, REFERENCE, mask=empty, settings=Settings(steps=4)).image
    assert apart(ours, image) == 0


# SDEdit and inpainting


def test_img2img_changes_the_background_too() -> None:
    pipelines, image = pipelines_of(pocket()), Image.open("examples/horse.png").convert("RGB")
    region = np.asarray(Image.open("examples/truth/horse-region.png").convert("L")) > 127
    with pipelines.running():
        made = pipelines.img2img(
            QUERY, image, strength=0.8, num_inference_steps=5, guidance_scale=4.0, generator=drawn()
        ).images[0]
    outside = float(np.sqrt(np.square(floats(made) - floats(image))[~region].mean()))
    assert outside > 0.02  # the autoencoder alone: 0.007 outside
    ours = pocket().edit(image, QUERY, REFERENCE, mask=Image.fromarray(region), settings=Settings(steps=5)).image
    np.testing.assert_array_equal(np.asarray(ours)[~region], np.asarray(image)[~region])


def test_inpainting_refuses_networks_of_other_than_4_or_9_channels() -> None:
    pipelines = peers(8, "sd2")
    with quiet():
        pipe = type(pipelines.inpaint)(**{**pipelines.inpaint.components, "unet": pipelines.unet})
    pipe.set_progress_bar_config(disable=True)
    mask = Image.new("L", (SIDE, SIDE), 255)
    call: Callable[[Any], Any] = lambda one: one(  # noqa: E731
        QUERY, picture(), mask, height=SIDE, width=SIDE, num_inference_steps=2, generator=drawn()
    )
    with pipelines.running(), pytest.raises(ValueError, match="4 or 9 input channels"):
        call(pipe)
    with pipelines.running():
        assert call(pipelines.inpaint).images[0].size == (SIDE, SIDE)


# LEDITS++


def inverted(pipelines: Pipelines, pipe: Any = None, **changes: Any) -> Any:
    pipe = pipe or pipelines.leditspp
    pipe.invert(picture(32), num_inversion_steps=4, generator=drawn(), **changes)
    return pipe


SWAP: dict[str, Any] = {"editing_prompt": ["horse", "zebra"], "reverse_editing_direction": [True, False]}


def test_leditspp_crashes_with_ddim_which_it_says_it_supports() -> None:
    from diffusers import DDIMScheduler

    pipelines = peers()
    with quiet():
        scheduler = DDIMScheduler.from_config(pipelines.scheduler)
        pipe = type(pipelines.leditspp)(**{**pipelines.leditspp.components, "scheduler": scheduler})
    pipe.set_progress_bar_config(disable=True)
    with pipelines.running(), pytest.raises(IndexError, match="must be long"):
        inverted(pipelines, pipe)


def test_leditspp_would_take_the_answer_of_a_v_network_for_noise_under_ddim() -> None:
    from diffusers import DDIMScheduler
    from diffusers.pipelines.ledits_pp.pipeline_leditspp_stable_diffusion import compute_noise_ddim

    def replayed(kind: str) -> float:
        """Record the noise of one step and take the step with it: the recorded state should come back."""
        scheduler = DDIMScheduler.from_config(tiny.scheduler().config, prediction_type=kind)
        scheduler.set_timesteps(10)
        x, lower, answer = (torch.randn(1, 4, 8, 8, generator=drawn(seed)) for seed in range(3))
        noise, _ = compute_noise_ddim(scheduler, lower, x, torch.tensor(501), answer, 1.0)
        back = scheduler.step(answer, 501, x, eta=1.0, variance_noise=noise).prev_sample
        return rms(back - lower)

    assert replayed("epsilon") < 1e-5
    assert replayed("v_prediction") > 0.3


def test_leditspp_crashes_on_latents_of_other_than_four_channels() -> None:
    pipelines = peers(8, "sd2")
    with pipelines.running():
        pipe = inverted(pipelines)
        with pytest.raises(RuntimeError, match=r"size of tensor a \(4\)"):
            pipe(**SWAP, use_intersect_mask=False)
        with all_channels(pipelines.unet, 8):
            assert pipe(**SWAP, use_intersect_mask=False).images[0].size == (32, 32)


def test_leditspp_crashes_by_default_without_attention_at_a_quarter() -> None:
    pipelines = peers()
    with pipelines.running():
        pipe = inverted(pipelines)
        with pytest.raises(ValueError, match="non-empty list"):
            pipe(**SWAP)
        pipe = inverted(pipelines)
        assert pipe(**SWAP, use_intersect_mask=False).images


def test_leditspp_edits_the_same_area_whatever_the_edit() -> None:
    pipelines = peers()
    areas = set()
    for prompts in (["zebra"], ["a car on snow"], ["the"]):
        with pipelines.running():
            pipe = inverted(pipelines)
            pipe(editing_prompt=prompts, use_intersect_mask=False)
        areas |= {int(step.sum()) for step in pipe.activation_mask[:, 0, 0, 0]}
    assert areas == {26}  # of 256 cells: what is above the quantile .9


def test_leditspp_does_not_come_back_from_an_inversion_with_a_source_prompt() -> None:
    pipelines, image = pipelines_of(pocket()), Image.open("examples/horse.png").convert("RGB")
    errors = {}
    for text in ("", REFERENCE):
        with pipelines.running():
            kept = pipelines.leditspp.invert(image, source_prompt=text, num_inversion_steps=8, generator=drawn())
            made = pipelines.leditspp(use_intersect_mask=False).images[0]
        errors[text] = apart(made, kept.vae_reconstruction_images[0])
    assert errors[""] < 0.04
    assert errors[REFERENCE] > 1.5 * errors[""]


def test_leditspp_leaves_its_attention_processors_in_a_network_that_others_use() -> None:
    blocks: dict[str, Any] = {
        "layers_per_block": 1,
        "block_out_channels": (32, 32, 32),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3,
        "up_block_types": ("CrossAttnUpBlock2D",) * 3,
        "attention_head_dim": 4,
        "sample_size": 16,
    }
    pipelines = pipelines_of(_kept(Editor.from_pretrained(tiny.pipeline("sd1", unet=tiny.unet("sd1", **blocks)))))
    own = {key: type(value).__name__ for key, value in pipelines.unet.attn_processors.items()}
    with pipelines.running():
        pipe = inverted(pipelines)
        pipe(**SWAP)
        left = {type(value).__name__ for value in pipe.unet.attn_processors.values()}
        # What the next user of the network runs is stored, and never let go.
        x, text = torch.zeros(3, 4, 16, 16), torch.zeros(3, 7, 32)
        for _ in range(4):
            pipe.unet(x, 5, encoder_hidden_states=text)
        stored = sum(len(maps) for maps in pipe.attention_store.step_store.values())
    assert "LEDITSCrossAttnProcessor" in left
    assert stored >= 4
    # `running` puts the network's own back.
    assert {key: type(value).__name__ for key, value in pipelines.unet.attn_processors.items()} == own


# All of them


@pytest.mark.skipif(Version(version("transformers")) < Version("5.6"), reason="text encoders still have a text_model")
@pytest.mark.parametrize("name", ["img2img", "diffedit", "leditspp"])
def test_clip_skip_crashes_there_with_the_transformers_of_today(name: str) -> None:
    def call() -> Any:
        pipe = getattr(pipelines, name)
        if name == "leditspp":
            return pipe.encode_prompt(torch.device("cpu"), 1, True, editing_prompt=QUERY, clip_skip=1)
        return pipe.encode_prompt(QUERY, torch.device("cpu"), 1, False, clip_skip=1)

    pipelines = peers()
    pipelines.leditspp.batch_size = 1
    with pipelines.running(), pytest.raises(AttributeError, match="text_model"):
        call()
    ours = _EDITORS[0].driver.prompt(QUERY, clip_skip=1).conditioning
    assert ours.rows == 1
