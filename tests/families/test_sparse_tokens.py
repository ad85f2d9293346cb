"""Transformers run on some of their tokens, each family's real class: exact where the record is of the same call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch import Tensor

from tests.support.family_rows import ROWS
from wordbrush.diffusion.denoiser import Conditioning
from wordbrush.editor import Editor
from wordbrush.models import load_model
from wordbrush.models.model import Model
from wordbrush.models.text import EMBEDDING
from wordbrush.request import EditRequest
from wordbrush.settings import Settings
from wordbrush.speed.records import OUTPUT, Record, Standing, difference
from wordbrush.speed.sparse import refusal
from wordbrush.speed.tokens import Tokens, recording, tokens_of, within

CELLS = 16
WHOLE = {
    "sana": "SanaTransformer2DModel", "lumina-2": "Lumina2Transformer2DModel",
    "qwen-image-2.1": "QwenImage21Transformer2DModel",
}  # fmt: skip
"""Families whose network is computed as a whole."""
NAMES = [
    "flux-1-dev", "chroma", "flux-2-dev", "flux-2-klein", "qwen-image", "krea-2-raw", "z-image", "sd3", "auraflow",
    "cogview-4", "pixart", "dit",
]  # fmt: skip


def texts(model: Model, name: str) -> tuple[Conditioning, Conditioning]:
    """Return a short and a longer text."""
    told = ("a red fox", "two dogs" if name == "dit" else "two dogs on snow under a tree")
    first, second = (model.text.encode([text], canvas=(CELLS, CELLS))[0].conditioning for text in told)
    return (first.told(guidance=1.0), second.told(guidance=3.5)) if "dev" in name else (first, second)


def noise(channels: int, rows: int = 1, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, channels, CELLS, CELLS, generator=generator, dtype=torch.float64)


def scattered() -> Tensor:
    """Return a region of two parts, the larger one askew to the tokens."""
    region = torch.zeros(1, 1, CELLS, CELLS)
    region[..., 5:9, 3:6], region[..., 14, 12] = 1, 0.5
    return region


@pytest.mark.parametrize("name", NAMES)
def test_some_tokens_of_the_recorded_call_itself_are_the_dense_run(name: str) -> None:
    model = load_model(ROWS[name].build())
    network: Any = getattr(model.denoiser, "network", None)
    module, near = network.module, 3e-3
    if name != "krea-2-raw":  # its norms compute in single precision, and records are then kept in half
        module, near = module.double(), 1e-5
    assert refusal(module) == ""
    first, second = texts(model, name)
    x = noise(model.codec.channels)

    def call(x: Tensor, text: Conditioning) -> Tensor:
        with torch.no_grad():
            output: Tensor = network(x, torch.full((len(x),), 500.0), text)
        return output

    def kept(tokens: Tokens, x: Tensor, text: Conditioning, *, each: bool = False) -> Record:
        record: Record = {}
        with recording(module, tokens, record, each=each):
            call(x, text)
        return record

    def sparse(tokens: Tokens, standing: Standing, x: Tensor, text: Conditioning) -> Tensor:
        with within(module, tokens, standing):
            return call(x, text)

    # With the record of the same trajectory any tokens are the dense run, and only those are computed.
    tokens, dense = tokens_of(module, scattered(), 0), call(x, first)
    assert tokens.share == 7 / 64
    record = kept(tokens, x, first)
    assert torch.allclose(sparse(tokens, Standing((record, 1.0)), x, first), dense, atol=near)

    # All tokens need no record of the same input; texts of unlike lengths stand in one call.
    both, other = Conditioning.concat([first, second]), noise(model.codec.channels, rows=2, seed=2)
    every = tokens_of(module, torch.ones(1, 1, CELLS, CELLS), 0)
    whole = call(other, both)
    assert torch.allclose(sparse(every, Standing((kept(every, x, first), 1.0)), other, both), whole, atol=near)

    # Of another input the outside is the recorded one, and what a whole run of it leaves corrects the record, by row.
    standing = Standing((record, 1.0))
    output = sparse(tokens, standing, other, both)
    outside = torch.nn.functional.max_pool2d(scattered(), 2).repeat_interleave(2, 2).repeat_interleave(2, 3)[0, 0] == 0
    assert torch.allclose(output[..., outside], dense[..., outside].expand(2, -1, -1), atol=near)
    assert not torch.allclose(output[..., ~outside], dense[..., ~outside].expand(2, -1, -1), atol=1e-2)
    ours = kept(tokens, other, both, each=True)
    assert len(ours[OUTPUT]) == 2
    corrected = Standing((record, 1.0), (difference(ours, Standing((record, 1.0))), 1.0))
    assert torch.allclose(sparse(tokens, corrected, other, both), whole, atol=near)
    rest = Standing((record, 1.0), (difference(ours, Standing((record, 1.0))), 1.0))
    with within(module, tokens, rest):  # in two calls, one a row
        pieces = [call(other[row : row + 1], both.select([row])) for row in (0, 1)]
    if EMBEDDING not in both or both[EMBEDDING].shape[1] == first[EMBEDDING].shape[1]:
        assert torch.allclose(torch.cat(pieces), whole, atol=near)
    assert torch.equal(call(x, first), dense)  # the network is as it was


@pytest.mark.parametrize("name", WHOLE)
def test_networks_that_mix_tokens_otherwise_are_refused_by_name(name: str) -> None:
    network: Any = getattr(load_model(ROWS[name].build()).denoiser, "network", None)
    assert refusal(network.module) == f"a {WHOLE[name]} is computed as a whole"


@pytest.mark.parametrize("name", ["flux-1-dev", "z-image", "sana"])
def test_an_edit_leaves_the_outside_alone_and_says_where_it_is_not_sparse(name: str) -> None:
    editor, mask = Editor(load_model(ROWS[name].build())), np.zeros((32, 32), np.uint8)
    mask[8:16, 12:20] = 255
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    session = editor.open(Image.fromarray(pixels), resolution=32)

    def painted(**switches: Any) -> tuple[Tensor, tuple[str, ...]]:
        settings = Settings(steps=6, edges="cells", **switches)
        drawn = Image.fromarray(mask)
        request = EditRequest(picture=session.picture, query="two dogs", mask=drawn, settings=settings)
        run = editor.driver.run([session.item(request)])
        latent = run.outcomes[0].result().painted.latent
        assert latent is not None
        return latent, run.notes

    dense, quiet = painted()
    if name in WHOLE:
        same, notes = painted(sparse=2)
        assert torch.equal(same, dense)
        assert f"the decode is not sparse, because a {WHOLE[name]} is computed as a whole" in notes
        return
    inside = (dense != session.latent()).any(dim=1, keepdim=True)
    for every in (2, 1000):
        latent, notes = painted(sparse=every)
        assert notes == quiet
        assert torch.equal(torch.where(inside, dense, latent), dense)
        assert 0 < float((latent - dense).norm() / (dense - session.latent()).norm()) < 0.3


def test_attention_that_torch_does_not_compute_leaves_no_record() -> None:
    network: Any = getattr(load_model(ROWS["dit"].build()).denoiser, "network", None)
    module = network.module
    for part in module.modules():
        if hasattr(part, "set_processor"):
            part.set_processor(AttnProcessor())  # multiplies matrices itself
    tokens, kept = tokens_of(module, scattered(), 0), Record()
    with torch.no_grad(), recording(module, tokens, kept):
        module(noise(4).float(), timestep=torch.tensor([500]), class_labels=torch.tensor([1]))
    assert kept == {}
