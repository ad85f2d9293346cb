"""Export of a training state to the plain diffusers folder layout, in half precision."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import nn

from .autoencoder import load_vae
from .denoiser import Denoiser
from .state import average_file
from .store import save_json
from .text import known_words
from .unet import WIDTHS, new_scheduler

GUIDANCE = 4.0
"""Default scale that programs are told; edits at 3, 5 and 7.5 look alike."""


def export(
    run: Path, vae_weights: Path, scale: float, out: Path, widths: tuple[int, ...], layers: int, decay: float = 0.998
) -> None:
    """Write one of the averages of `run` and the autoencoder as a `StableDiffusionPipeline` folder.

    The truth head stays behind.
    """
    vae = load_vae(vae_weights)
    model = Denoiser(run, widths, layers, vae.config.latent_channels)
    averaged(model, run, decay)
    vae.register_to_config(scaling_factor=scale)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text,
        tokenizer=model.tokenizer,
        unet=model.unet.to(memory_format=torch.contiguous_format),
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    save_pipeline(pipeline, out, {"guidance": GUIDANCE})
    for name in ("vocab.json", "merges.txt"):
        (out / "tokenizer" / name).write_bytes((run / "vocabulary" / name).read_bytes())


def averaged(model: nn.Module, run: Path, decay: float) -> None:
    """Give a model the weights of one of the averages of `run`."""
    missing, unexpected = model.load_state_dict(load_file(str(average_file(run, decay))), strict=False)
    if unexpected or any("position_ids" not in name for name in missing):
        raise ValueError(f"{run} does not fit this architecture: {missing} {unexpected}")


def save_pipeline(pipeline: Any, out: Path, card: dict[str, Any]) -> None:
    """Write a pipeline in half precision, with the words of pocket's world and what is told to wordbrush."""
    pipeline.to(torch.float16)
    pipeline.save_pretrained(out, safe_serialization=True)
    _load_in_float32(out / "text_encoder" / "config.json")
    save_json(known_words(), out / "words.json")
    save_json(card, out / "wordbrush.json")
    for file in out.rglob("*.safetensors"):
        file.chmod(0o644)


def _load_in_float32(config: Path) -> None:
    """Make transformers widen the half-precision weights on loading, as diffusers does with its own."""
    settings = json.loads(config.read_text())
    settings["dtype"] = "float32"
    save_json(settings, config)


def main() -> None:
    """Export a run."""
    line = argparse.ArgumentParser(prog="python -m training.pocket.export", description=__doc__)
    line.add_argument("--run", type=Path, required=True)
    line.add_argument("--vae", type=Path, required=True)
    line.add_argument("--frozen", type=Path, help="JSON with the scaling factor, when it is not beside the weights")
    line.add_argument("--out", type=Path, default=Path("src/wordbrush/models/pocket"))
    line.add_argument("--widths", type=int, nargs="+", default=[*WIDTHS])
    line.add_argument("--layers", type=int, default=1)
    line.add_argument("--ema", type=float, default=0.998, help="which average, by its decay")
    args = line.parse_args()
    scale = json.loads((args.frozen or args.vae.with_suffix(".json")).read_text())["scaling_factor"]
    export(args.run, args.vae, scale, args.out, tuple(args.widths), args.layers, args.ema)


if __name__ == "__main__":
    main()
