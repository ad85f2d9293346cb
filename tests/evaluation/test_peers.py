"""Peers as methods: that they run, count, repeat, and leave nothing behind.

The fast tests run the real pipelines on tiny components shaped like the pocket model: 8 latent channels, v prediction,
no attention at a quarter of the latent's sides. The slow ones run them on the pocket model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import tiny
from tests.support.closed_forms import Counting
from wordbrush import Editor
from wordbrush.errors import ModelError
from wordbrush.evaluation.items import MethodRequest, Outcome
from wordbrush.evaluation.memory_probe import memory_probe
from wordbrush.evaluation.peers import PEERS, TOLD, told
from wordbrush.evaluation.peers.diffedit import DiffEditNumbers, diffedit_with
from wordbrush.evaluation.peers.phrases import differing_phrases
from wordbrush.evaluation.peers.pipelines import Pipelines, pipelines_of
from wordbrush.settings import Settings

SETTINGS = Settings(maps=2, steps=4, ratio=0.5, guidance=3.0)
TEXTS = ("a zebra on grass", "a horse on grass")
# At their defaults: DiffEdit 4 x 10 + 2 x 40 + 2 x 40, LEDITS++ 30 + 3 x 30 and 50 + 3 x 50, inpainting 2 x 50 and the
# 12 of our mask; with the settings: DiffEdit 4 x 2 + 2 + 2 x 2, SDEdit 2 x 2; tuned: DiffEdit 4 x 10 + 3 x 22, SDEdit
# 2 x 22.
ROWS = {
    "diffusers_diffedit": 200,
    "diffusers_diffedit_tuned": 106,
    "diffusers_diffedit_tuned_pasted": 106,
    "diffusers_diffedit_paper": 14,
    "leditspp": 120,
    "leditspp_tuned": 120,
    "leditspp_swap": 200,
    "diffusers_img2img": 4,
    "diffusers_img2img_tuned": 48,
    "diffusers_inpaint_our_mask": 108,
    "diffusers_inpaint_our_mask_tuned": 108,
    "diffusers_inpaint_our_mask_pasted": 108,
}

TWINS = {
    *("diffusers_diffedit_tuned", "leditspp_swap", "leditspp_tuned"),
    *("diffusers_inpaint_our_mask", "diffusers_inpaint_our_mask_tuned"),
}
"""Run the same code as another, with other numbers: those numbers are shown on the tiny components alone."""


@cache
def small() -> Editor:
    parts = {
        "unet": tiny.unet("sd2", in_channels=8, out_channels=8, sample_size=8, layers_per_block=1),
        "vae": tiny.vae(latent_channels=8, sample_size=16),
    }
    return Editor.from_pretrained(tiny.pipeline("sd2", **parts))


@cache
def pocket() -> Editor:
    return Editor.from_pretrained("pocket")


def request(side: tuple[int, int], seed: int = 0) -> MethodRequest:
    """A smooth picture (height, width)."""
    rng = np.random.default_rng(5)
    coarse = torch.from_numpy(rng.random((1, 3, 4, 4)))
    smooth = torch.nn.functional.interpolate(coarse, side, mode="bilinear")[0].permute(1, 2, 0).numpy()
    return MethodRequest((smooth * 255).astype(np.uint8), *TEXTS, seed=seed)


def run(editor: Editor, name: str, what: MethodRequest, settings: Settings = SETTINGS) -> Outcome:
    return PEERS[name](editor, editor.open(what.picture), what, settings)


@cache
def made(name: str) -> Outcome:
    return run(small(), name, request((16, 16)))


@cache
def untouched(pick: Callable[[], Editor], side: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Our edit by an editor, made once: before the first peer of those that are compared ran on it."""
    return ours(pick(), request((side, side)))


def ours(editor: Editor, what: MethodRequest) -> np.ndarray[Any, np.dtype[np.uint8]]:
    edited = editor.edit(what.picture, what.query, what.reference, settings=SETTINGS.changed(threshold=0.4))
    return np.asarray(edited.image)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in TWINS)) for n in PEERS])
def test_a_peer_runs_counts_and_leaves_no_trace(name: str) -> None:
    editor, what = small(), request((16, 16))
    network = pipelines_of(editor).unet
    before, processors, random = untouched(small, 16), dict(network.attn_processors), torch.get_rng_state()
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    first = made(name)
    assert torch.equal(torch.get_rng_state(), random)
    assert first.image.shape == (16, 16, 3)
    assert first.image.dtype == np.uint8
    assert first.evaluations == ROWS[name]
    assert first.seconds is not None
    assert first.seconds > 0
    assert first.peak_memory is not None
    assert (first.mask is None) == ("img2img" in name)
    if first.mask is not None:
        assert first.mask.shape == (16, 16)
        assert 0 <= first.mask.min() <= first.mask.max() <= 1
    np.testing.assert_array_equal(ours(editor, what), before)
    assert {key: id(value) for key, value in network.attn_processors.items()} == {
        key: id(value) for key, value in processors.items()
    }
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())
    assert not network._forward_pre_hooks


@pytest.mark.parametrize(
    "name", ["diffusers_diffedit_paper", "leditspp", "diffusers_img2img", "diffusers_inpaint_our_mask_pasted"]
)
def test_a_seed_decides(name: str) -> None:
    np.testing.assert_array_equal(run(small(), name, request((16, 16))).image, made(name).image)
    assert not np.array_equal(run(small(), name, request((16, 16), seed=1)).image, made(name).image)


def test_every_peer_has_its_count_here() -> None:
    assert list(ROWS) == list(PEERS)


@pytest.mark.parametrize("name", ["diffusers_diffedit_paper", "diffusers_img2img", "leditspp"])
def test_a_picture_of_another_shape_comes_back_in_its_own(name: str) -> None:
    outcome = run(small(), name, request((13, 21)))
    assert outcome.image.shape == (13, 21, 3)
    assert outcome.mask is None or outcome.mask.shape == (13, 21)


@pytest.mark.parametrize("name", ["diffusers_img2img", "diffusers_diffedit_paper"])
def test_guidance_ratio_and_steps_reach_the_peers_that_take_them(name: str) -> None:
    what, longer = request((16, 16)), SETTINGS.changed(steps=8)
    first = run(small(), name, what)
    assert run(small(), name, what, longer).evaluations > first.evaluations
    assert run(small(), name, what, SETTINGS.changed(ratio=1.0)).evaluations > first.evaluations
    if name == "diffusers_diffedit_paper":
        assert not np.array_equal(run(small(), name, what, SETTINGS.changed(guidance=9)).image, first.image)


@pytest.mark.parametrize("name", ["diffusers_img2img_tuned", "diffusers_diffedit_tuned_pasted"])
def test_tuned_peers_have_numbers_of_their_own(name: str) -> None:
    again = run(small(), name, request((16, 16)), SETTINGS.changed(steps=9, ratio=1.0, guidance=9))
    np.testing.assert_array_equal(again.image, made(name).image)


def test_a_lower_cut_gives_a_wider_mask_and_a_paste_keeps_what_it_leaves_out() -> None:
    what, editor = request((16, 16)), small()
    narrow, wide = (DiffEditNumbers(cut, guidance=3.0, ratio=0.5, steps=4) for cut in (3.0, 1.5))
    high, bare = (diffedit_with(editor, editor.open(what.picture), what, numbers) for numbers in (narrow, wide))
    pasted = diffedit_with(editor, editor.open(what.picture), what, wide, paste=True)
    assert high.mask is not None
    assert bare.mask is not None
    inside = bare.mask > 0
    assert inside[high.mask > 0].all()
    assert inside.sum() > (high.mask > 0).sum()
    np.testing.assert_array_equal(pasted.image[~inside], what.picture[~inside])
    np.testing.assert_array_equal(pasted.image[inside], bare.image[inside])
    assert (bare.image[~inside] != what.picture[~inside]).any()


def test_each_peer_says_what_it_runs() -> None:
    assert list(TOLD) == list(PEERS)
    assert told("diffusers_img2img", {"ratio": 0.8, "steps": 50}, 4.0) == "strength 0.8 of 50 steps, guidance 7.5"
    assert "22 of 25 steps, cut at 0.15 of the mean" in told("diffusers_diffedit_tuned", {}, 1.0)


def test_what_fails_leaves_no_trace_either() -> None:
    pipelines = pipelines_of(small())
    processors = dict(pipelines.unet.attn_processors)
    with pytest.raises(KeyboardInterrupt), pipelines.running():
        from diffusers.models.attention_processor import AttnProcessor

        pipelines.unet.set_attn_processor(AttnProcessor())
        raise KeyboardInterrupt
    assert all(value is processors[key] for key, value in pipelines.unet.attn_processors.items())
    assert not pipelines.unet._forward_pre_hooks


def test_pipelines_are_built_once_over_the_very_modules_of_the_editor() -> None:
    pipelines, model = pipelines_of(small()), small().model
    assert pipelines is pipelines_of(small())
    assert pipelines.leditspp.unet is pipelines.diffedit.unet is pipelines.unet
    assert pipelines.unet is getattr(getattr(model.denoiser, "network"), "module")  # noqa: B009
    assert pipelines.diffedit is pipelines.diffedit
    for built in (pipelines.diffedit, pipelines.leditspp, pipelines.img2img, pipelines.inpaint):
        assert built.scheduler.config.prediction_type == "v_prediction"
        assert built.scheduler.config.beta_end == model.scheduler["beta_end"]


def test_models_of_another_build_are_refused() -> None:
    from dataclasses import replace

    model = small().model
    with pytest.raises(ModelError, match="Stable Diffusion build"):
        Pipelines(replace(model, denoiser=Counting(model.denoiser)))


def test_the_view_for_the_inpainting_check_changes_the_answer_and_nothing_else() -> None:
    pipelines = pipelines_of(small())
    view, network = pipelines.inpaint.unet, pipelines.unet
    assert (view.config.in_channels, network.config.in_channels) == (4, 8)
    assert {**view.config, "in_channels": 8} == dict(network.config)
    x, text = torch.ones(1, 8, 8, 8), torch.ones(1, 7, 48)
    with torch.no_grad():
        assert torch.equal(
            view(x, 5, encoder_hidden_states=text).sample, network(x, 5, encoder_hidden_states=text).sample
        )
    plain = Editor.from_pretrained(tiny.pipeline())
    assert pipelines_of(plain).inpaint.unet is pipelines_of(plain).unet


def test_a_paste_back_keeps_the_outside_and_its_absence_does_not() -> None:
    what = request((16, 16))
    editor = small()
    session = editor.open(what.picture)
    settings = SETTINGS.changed(edges="cells", rule="area", threshold=0.25)
    outside = session.mask(what.query, what.reference, settings=settings).values == 0
    assert 0.5 < outside.mean() < 1
    pasted = PEERS["diffusers_inpaint_our_mask_pasted"](editor, session, what, settings)
    bare = PEERS["diffusers_inpaint_our_mask_tuned"](editor, session, what, settings)
    np.testing.assert_array_equal(pasted.image[outside], what.picture[outside])
    assert np.abs(bare.image[outside].astype(int) - what.picture[outside]).mean() > 1
    assert bare.seconds is None  # the mask was known already
    assert bare.evaluations == ROWS["diffusers_inpaint_our_mask_tuned"]


def test_leditspp_uses_its_attention_masks_where_the_network_has_them() -> None:
    blocks: dict[str, Any] = {
        "layers_per_block": 1,
        "block_out_channels": (32, 32, 32),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3,
        "up_block_types": ("CrossAttnUpBlock2D",) * 3,
        "attention_head_dim": 4,
        "sample_size": 16,
    }
    editor = Editor.from_pretrained(tiny.pipeline("sd1", unet=tiny.unet("sd1", **blocks)))
    what = request((32, 32))
    outcome = run(editor, "leditspp", what)
    assert outcome.contrast is not None
    # Both masks keep a tenth (of 64 cells at a quarter 7 of them), so their intersection keeps less than either.
    assert 0 < outcome.contrast.mean() < 0.2
    processors = pipelines_of(editor).unet.attn_processors.values()
    assert {type(value).__name__ for value in processors} == {"AttnProcessor2_0"}


def test_equal_texts_are_a_reconstruction_for_leditspp() -> None:
    what = request((16, 16))
    outcome = run(small(), "leditspp", MethodRequest(what.picture, TEXTS[1], TEXTS[1]))
    assert outcome.evaluations == 60
    assert outcome.mask is not None
    assert outcome.mask.max() == 0


@pytest.mark.parametrize(
    ("reference", "query", "phrases"),
    [
        ("a horse on grass", "a zebra on grass", ("horse", "zebra")),
        ("a red car on a road", "a blue car on a road", ("red car", "blue car")),
        ("an apple on a wooden floor", "a pumpkin on a wooden floor", ("apple", "pumpkin")),
        ("a penguin on grass", "a penguin on a wooden floor", ("grass", "wooden floor")),
        ("a house on grass", "a house on grass at night", ("", "night")),
        ("an owl and a tree on sand", "an owl and a cactus on sand", ("tree", "cactus")),
        ("a horse on grass", "a horse and a red ball on grass", ("", "red ball")),
        ("a cow and a pig on snow", "a cow on snow", ("pig", "")),
        ("a horse on grass", "empty grass", ("horse", "empty")),
        ("", "a zebra on grass", ("", "a zebra on grass")),
        ("a horse", "a horse", ("", "")),
        ("horse", "zebra", ("horse", "zebra")),
    ],
)
def test_the_phrases_in_which_texts_differ(reference: str, query: str, phrases: tuple[str, str]) -> None:
    assert differing_phrases(reference, query) == phrases


def test_the_probe_sees_memory_that_is_taken_and_given_back() -> None:
    with memory_probe() as small_probe:
        total = sum(range(1000))
    with memory_probe() as probe:
        block = np.ones(16 << 20, np.float32)
        total += int(block[-1])
        due = time.monotonic() + 10
        while probe.growth < 60e6 and time.monotonic() < due:  # a busy machine lets the sampling thread wait
            time.sleep(0.002)
        del block
    assert total == 499_501
    assert 60e6 < probe.growth < 160e6
    assert small_probe.growth < 30e6


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PEERS if name not in TWINS])
def test_a_peer_runs_on_the_pocket_model(name: str) -> None:
    editor, what = pocket(), request((128, 128))
    before = untouched(pocket, 128)
    outcome = run(editor, name, what)
    assert outcome.image.shape == (128, 128, 3)
    assert outcome.evaluations == ROWS[name]
    np.testing.assert_array_equal(ours(editor, what), before)
