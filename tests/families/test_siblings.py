"""Loaded pipelines for other tasks of the same network: taken where the network is the same, else refused by name."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from tests.support.family_rows import ROWS
from wordbrush.errors import ModelError
from wordbrush.models import Model, load_model
from wordbrush.models.registry import family_of

SIBLINGS = {
    "sdxl": "StableDiffusionXLImg2ImgPipeline StableDiffusionXLInpaintPipeline",
    "sd3": "StableDiffusion3Img2ImgPipeline StableDiffusion3InpaintPipeline",
    "flux-1-dev": "FluxImg2ImgPipeline FluxInpaintPipeline",
    "chroma": "ChromaImg2ImgPipeline ChromaInpaintPipeline",
    "flux-2-klein-base": "Flux2KleinInpaintPipeline",
    "z-image": "ZImageImg2ImgPipeline ZImageInpaintPipeline",
    "qwen-image": "QwenImageImg2ImgPipeline QwenImageInpaintPipeline",
    "sprint": "SanaSprintImg2ImgPipeline",
    "lcm": "LatentConsistencyModelImg2ImgPipeline",
}
REFUSED = {
    "FluxKontextPipeline": ("flux-1-dev", r"Kontext.* FLUX\.1 dev works"),
    "FluxKontextInpaintPipeline": ("flux-1-dev", "Kontext"),
    "FluxFillPipeline": ("flux-1-dev", r"Fill.* FLUX\.1 dev works"),
    "FluxControlPipeline": ("flux-1-dev", "Depth or Canny"),
    "FluxControlInpaintPipeline": ("flux-1-dev", "Depth or Canny"),
    "QwenImageEditPlusPipeline": ("qwen-image", "Qwen-Image-Edit.* Qwen-Image works"),
    "QwenImageLayeredPipeline": ("qwen-image", "layers"),
    "ZImageOmniPipeline": ("z-image", "Z-Image works"),
    "CogView4ControlPipeline": ("cogview-4", "CogView 4 works"),
}


@cache
def pipeline(name: str) -> Any:
    return ROWS[name].build()


def answer(model: Model) -> Tensor:
    side = 32 // model.codec.factor
    x = torch.randn(1, model.codec.channels, side, side, generator=torch.Generator().manual_seed(0))
    text = model.text.encode(["a red fox"], canvas=(side, side))[0].conditioning
    return model.denoiser(x, model.schedule.level(0.6), model.policy.told(text, 3.0)).eps


@pytest.mark.parametrize("name", SIBLINGS)
def test_the_same_network_in_a_pipeline_for_pictures_is_the_same_model(name: str) -> None:
    plain = load_model(pipeline(name))
    expected = answer(plain)
    for kind in SIBLINGS[name].split():
        own = pipeline(name)
        model = load_model(getattr(diffusers, kind).from_pipe(own))
        assert torch.equal(answer(model), expected), kind
        assert (model.identity.family, model.identity.sha256) == (plain.identity.family, plain.identity.sha256)
        assert (model.policy.kind, model.policy.scale, model.encoding, model.resolution) == (
            plain.policy.kind, plain.policy.scale, plain.encoding, plain.resolution,
        )  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_pipeline_that_is_told_more_than_a_text_is_refused_by_name(kind: str) -> None:
    name, message = REFUSED[kind]
    index = {**pipeline(name).config, "_class_name": kind}
    with pytest.raises(ModelError, match=message):
        family_of(index, "a folder")
    relabelled = type(kind, (type(pipeline(name)),), {})(**pipeline(name).components)
    with pytest.raises(ModelError, match=message):
        load_model(relabelled)


def test_channels_tell_what_names_do_not(tmp_path: Path) -> None:
    pipeline("flux-1-dev").save_pretrained(tmp_path)
    path = tmp_path / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "in_channels": 96}))
    with pytest.raises(ModelError, match=r"takes 96 channels a token .* use the text-to-image checkpoint"):
        load_model(tmp_path)
