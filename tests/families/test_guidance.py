"""What the networks of each sort are told and how often they run, for models guided by a number or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

from tests.support.families import ROWS, SIDE
from wordbrush.editor import Editor
from wordbrush.models import load_model
from wordbrush.models.families.flux_2 import shift_for

SETTINGS: dict[str, Any] = {
    "maps": 1, "steps": 5, "ratio": 0.8, "inversion_stride": 1, "resolution": SIDE, "retry": False,
}
PICTURE = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
REGION = np.zeros((SIDE, SIDE), bool)
REGION[8:24, 8:24] = True
TEXTS = ("a red fox", "two dogs on snow")


@contextmanager
def told(network: Any) -> Iterator[list[Any]]:
    """Collect the guidance that each row of each call of a network is told; None where it is told none."""
    rows: list[Any] = []

    def before(_module: Any, args: tuple[torch.Tensor, ...], given: dict[str, Any]) -> None:
        guidance = given.get("guidance")
        rows.extend([None] * len(args[0]) if guidance is None else guidance.tolist())

    handle = network.register_forward_pre_hook(before, with_kwargs=True)
    yield rows
    handle.remove()


@pytest.mark.parametrize("name", ["flux-1-dev", "flux-2-dev"])
def test_a_guided_network_is_told_1_but_in_the_decode_and_runs_once_a_step(name: str) -> None:
    pipeline = ROWS[name].build()
    editor = Editor(load_model(pipeline))
    with told(pipeline.transformer) as rows:
        result = editor.edit(PICTURE, *TEXTS, include=REGION, guidance=4.5, **SETTINGS)
    spent = result.report.evaluations
    assert spent["decode"] == spent["invert"] == 4
    assert spent["contrast"] > 0
    assert len(rows) == sum(spent.values())
    assert rows == [1.0] * (len(rows) - 4) + [4.5] * 4
    with told(pipeline.transformer) as rows:
        editor.edit(PICTURE, *TEXTS, mask=REGION, **SETTINGS)
    assert rows[-1] == editor.model.policy.scale == {"flux-1-dev": 3.5, "flux-2-dev": 4.0}[name]


SIBLINGS = {
    "flux-1-schnell": "black-forest-labs/FLUX.1-dev",
    "flux-2-klein": "black-forest-labs/FLUX.2-klein-base-4B",
    "krea-2-turbo": "krea/Krea-2-Raw",
}


@pytest.mark.parametrize("name", SIBLINGS)
def test_a_distilled_model_names_its_sibling_and_inverts_only_when_asked(name: str) -> None:
    pipeline = ROWS[name].build()
    editor = Editor(load_model(pipeline))
    with told(pipeline.transformer) as rows:
        noised = editor.edit(PICTURE, *TEXTS, include=REGION, **SETTINGS)
    spent = noised.report.evaluations
    assert spent["decode"] == 4
    assert spent.get("invert", 0) == 0
    assert rows == [None] * sum(spent.values())
    (warning,) = [sentence for sentence in noised.report.warnings if "distilled" in sentence]
    assert SIBLINGS[name] in warning
    inverted = editor.edit(PICTURE, *TEXTS, include=REGION, encoding="invert", **SETTINGS)
    assert inverted.report.evaluations["invert"] == 4
    assert not any("distilled" in sentence for sentence in inverted.report.warnings)
    assert (np.asarray(inverted.image) != np.asarray(noised.image)).any()
    assert (np.asarray(noised.image)[0] == PICTURE[0]).all() or noised.mask.values[0].any()


@pytest.mark.parametrize("name", ["flux-2-klein-base", "krea-2-raw", "qwen-image", "chroma"])
def test_the_undistilled_are_inverted_and_guided_by_two_estimates(name: str) -> None:
    editor = Editor(load_model(ROWS[name].build()))
    result = editor.edit(PICTURE, *TEXTS, mask=REGION, guidance_low=0.0, guidance_every=1, **SETTINGS)
    assert result.report.evaluations["invert"] == 4
    assert result.report.evaluations["decode"] == 8
    assert not any("distilled" in sentence for sentence in result.report.warnings)


@pytest.mark.parametrize("tokens", [64, 1024, 4096, 4300, 4301, 8100])
@pytest.mark.parametrize("steps", [1, 4, 28, 50, 200])
def test_the_shift_of_flux_2_is_that_of_its_pipeline(tokens: int, steps: int) -> None:
    expected = np.exp(compute_empirical_mu(tokens, steps))
    assert shift_for({"use_dynamic_shifting": True}, tokens, steps) == pytest.approx(expected, rel=1e-9)
    assert shift_for({"use_dynamic_shifting": False, "shift": 3.0}, tokens, steps) == 3.0


def test_a_folder_may_say_that_an_unguided_flux_is_no_schnell() -> None:
    from wordbrush.models.checkpoint.parts import from_pipeline
    from wordbrush.models.families.flux_1 import FAMILY
    from wordbrush.models.family import Origin

    parts, device = from_pipeline(ROWS["flux-1-schnell"].build(), FAMILY, "m")
    parts.card = {"distilled": False, "guidance": 2.5}
    model = FAMILY.build(parts, Origin("m", "m", "", device))
    assert (model.policy.kind, model.policy.scale, model.encoding, model.sibling) == ("cfg", 2.5, "invert", "")
