"""Training of pocket-flow, a rectified-flow transformer in the layout of Z-Image, on pocket's cached latents.

A latent at time t is (1 - t) latent + t noise; the network is told 1 - t and answers with latent - noise, minus the
velocity. Half of the times are spread evenly, half are logit-normal around .57, where an object's shape is decided.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from .diffusion import Batch
from .flow import FlowDenoiser, warm_start
from .text import token_ids
from .train_unet import Kind, Run, parser
from .train_unet import train as train_kind

WIDTH = 192
LAYERS = 8
_MIDDLE = 0.3
"""Mean of the logit of t in the logit-normal half."""
_VISIBLE = 0.7
"""The truth head is asked below this time only: above it nothing is to be seen yet."""


class Flow:
    """The rectified flow; see `diffusion.Process`. Levels are times t, from 0, the picture, to 1, noise."""

    even = torch.linspace(0.02, 0.98, 48)

    def draw(self, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Return random times, one from each of as many equal parts of the distribution as are asked for."""
        halves = []
        for size in (count // 2, count - count // 2):
            uniform = torch.rand(size, generator=generator, device=device)
            halves.append((torch.arange(size, device=device) + uniform) / max(size, 1))
        return torch.cat([halves[0], torch.sigmoid(_MIDDLE + torch.special.ndtri(halves[1].clamp(1e-6, 1 - 1e-6)))])

    def noised(self, batch: Batch, level: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noised latents and minus their velocity."""
        t = level.view(-1, 1, 1, 1)
        return (1 - t) * batch.latents + t * noise, batch.latents - noise

    def visible(self, level: Tensor) -> Tensor:
        """Whether objects can be seen at the times."""
        return level < _VISIBLE


@torch.no_grad()
def generate(model: FlowDenoiser, texts: list[str], seed: int, steps: int = 20, scale: float = 4.0) -> Tensor:
    """Return latents (batch, channel, 16, 16) drawn with Euler's method and classifier-free guidance."""
    latents = torch.randn((len(texts), model.channels, 16, 16), generator=torch.Generator().manual_seed(seed))
    tokens = token_ids(model.tokenizer, [*texts, *[""] * len(texts)])
    times = torch.linspace(1, 0, steps + 1)
    for here, there in pairwise(times):
        both = model(torch.cat([latents, latents]), here.expand(2 * len(texts)), tokens)
        told, plain = both.chunk(2)
        latents = latents + (here - there) * (plain + scale * (told - plain))
    return latents


def _build(args: argparse.Namespace, folder: Path, channels: int) -> FlowDenoiser:
    model = FlowDenoiser(folder, args.widths[0], args.layers, channels)
    if args.init_from:
        warm_start(model, Path(args.init_from))
    return model


def _compiled(model: FlowDenoiser) -> FlowDenoiser:
    model.transformer.compile_repeated_blocks()  # one block is compiled for all: seconds instead of minutes
    return model


FLOW = Kind(_build, ("transformer", "text", "head"), Flow(), generate, _compiled)


def flow_parser() -> argparse.ArgumentParser:
    """Return the command line of this stage."""
    line = parser()
    line.set_defaults(widths=[WIDTH], layers=LAYERS, truth=0.2, lr=2e-3, iterations=3)
    return line


def train(args: argparse.Namespace) -> Run:
    """Train until the schedule's end, or for `args.piece` minutes; see `train_unet.train`."""
    return train_kind(args, kind=FLOW)


if __name__ == "__main__":
    train(flow_parser().parse_args())
