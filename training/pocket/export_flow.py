"""Export of a training state of pocket-flow to a folder of `ZImagePipeline`, in half precision."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline
from torch import nn
from transformers import Qwen3Model

from .autoencoder import load_vae
from .export import averaged, save_pipeline
from .flow import FlowDenoiser
from .flow_text import READER_LAYERS, new_reader
from .render import SIZE
from .train_flow import LAYERS, WIDTH

GUIDANCE = 4.0
"""Default scale that programs are told, counted as wordbrush counts it: the pipeline's own is one less."""
SHIFT = 1.0
"""Shift of the sampler's levels: none, as in training; pictures are small."""


def export_flow(
    run: Path,
    vae_weights: Path,
    scale: float,
    out: Path,
    width: int = WIDTH,
    layers: int = LAYERS,
    decay: float = 0.998,
) -> None:
    """Write one of the averages of `run` and the autoencoder; the truth head stays behind."""
    vae = load_vae(vae_weights)
    model = FlowDenoiser(run, width, layers, vae.config.latent_channels)
    averaged(model, run, decay)
    vae.register_to_config(scaling_factor=scale, shift_factor=0.0)
    pipeline = ZImagePipeline(
        vae=vae,
        text_encoder=lengthened(model),
        tokenizer=model.chat,
        transformer=model.transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
    )
    save_pipeline(pipeline, out, {"guidance": GUIDANCE, "distilled": False, "resolution": SIZE})


def lengthened(model: FlowDenoiser) -> Qwen3Model:
    """Return the text encoder with a further layer that adds nothing: Z-Image takes the states before the last."""
    made = new_reader(model.chat, model.text.config.hidden_size, READER_LAYERS + 1)
    made.load_state_dict(model.text.state_dict(), strict=False)
    with torch.no_grad():
        known = torch.zeros(len(model.chat), 1).index_fill_(0, model.table, 1.0)
        made.embed_tokens.weight.mul_(known)  # letters, which were never seen, say nothing
        for name, weight in made.layers[-1].named_parameters():
            if "norm" not in name:
                nn.init.zeros_(weight)
    return made


def main() -> None:
    """Export a run."""
    line = argparse.ArgumentParser(prog="python -m training.pocket.export_flow", description=__doc__)
    line.add_argument("--run", type=Path, required=True)
    line.add_argument("--vae", type=Path, required=True)
    line.add_argument("--out", type=Path, default=Path("src/wordbrush/models/pocket_flow"))
    line.add_argument("--ema", type=float, default=0.998, help="which average, by its decay")
    args = line.parse_args()
    scale = json.loads(args.vae.with_suffix(".json").read_text())["scaling_factor"]
    export_flow(args.run, args.vae, scale, args.out, decay=args.ema)


if __name__ == "__main__":
    main()
