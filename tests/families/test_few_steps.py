"""Models distilled to few steps, over several steps of their own pipelines, which draw new noise at each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.families import SIDE
from tests.support.family_rows import ROWS
from tests.support.more_families import latent_consistency, sana
from wordbrush.editor import Editor
from wordbrush.errors import ModelError, SettingsError
from wordbrush.models import Model, load_model
from wordbrush.models.model import GUIDANCE
from wordbrush.settings import Settings

TEXT = "a red fox"


def walked(model: Model, x: Tensor, steps: int, scale: float) -> Tensor:
    """Take x from the noisiest level to the clean one, by the estimate of x0 and fresh noise at every level."""
    generator = torch.Generator().manual_seed(7)
    text = model.policy.told(model.text.encode([TEXT])[0].conditioning, scale)
    levels = model.schedule.grid(steps)
    for level, below in zip(levels[:0:-1], levels[-2::-1], strict=True):
        clean = model.denoiser(x, level, text).x0
        alpha, sigma = below.scales(x)
        x = alpha * clean + sigma * torch.randn(x.shape, generator=generator) if float(below.sigma) else clean
    return x


@pytest.mark.parametrize(
    ("name", "steps", "more"),
    [
        ("sprint", 2, {"intermediate_timesteps": 1.3}),
        ("sprint", 4, {}),
        ("lcm", 2, {}),
        ("lcm", 4, {}),
        ("lcm", 7, {}),
    ],
)
def test_several_steps_are_those_of_the_familys_own_pipeline(name: str, steps: int, more: dict[str, Any]) -> None:
    row = ROWS[name]
    pipeline = row.build()
    pipeline.set_progress_bar_config(disable=True)
    x = torch.randn(1, 4, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(0))
    theirs = pipeline(
        TEXT, latents=x, num_inference_steps=steps, output_type="latent", height=SIDE, width=SIDE, guidance_scale=4.5,
        generator=torch.Generator().manual_seed(7), **(dict(row.limit) | more),
    ).images  # fmt: skip
    ours = walked(load_model(pipeline), x, steps, 4.5)
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_the_labels_of_a_latent_consistency_model_are_those_of_its_scheduler() -> None:
    pipeline = latent_consistency()
    model = load_model(pipeline)
    for steps in (1, 3, 4, 8, 50):
        pipeline.scheduler.set_timesteps(steps)
        labels = [float(level.label) for level in model.schedule.grid(steps)[:0:-1]]
        assert labels == pipeline.scheduler.timesteps.tolist()
    with pytest.raises(SettingsError, match="51 steps"):
        model.schedule.grid(51)


def test_models_of_few_steps_are_noised_and_not_inverted() -> None:
    for pipeline, sibling in ((latent_consistency(), "Stable Diffusion"), (sana(sprint=True), "Sana_1600M")):
        model = load_model(pipeline)
        assert model.encoding == "noise"
        assert sibling in model.sibling
        assert model.policy.kind == "embedded"


@pytest.mark.parametrize(
    ("name", "least", "usual"), [("lcm", 3.0, 8.5), ("sprint", 4.0, 4.5), ("flux-1-dev", 1.0, 3.5)]
)
def test_a_network_is_told_no_scale_below_those_it_was_trained_with(name: str, least: float, usual: float) -> None:
    session = Editor(load_model(ROWS[name].build())).open(np.zeros((SIDE, SIDE, 3), np.uint8), resolution=SIDE)
    edit = session.run(session.prepared(TEXT, "a dog", 0, Settings(resolution=SIDE)))
    told = {key: getattr(edit, key)[GUIDANCE].tolist() for key in ("query", "reference", "empty", "inversion", "drawn")}
    assert told == {key: [usual if key == "drawn" else least] for key in told}


def test_an_ordinary_unet_in_a_consistency_pipeline_is_refused() -> None:
    from tests.support import tiny

    with pytest.raises(ModelError, match=r"not told its guidance.*StableDiffusionPipeline"):
        load_model(latent_consistency(unet=tiny.unet()))
