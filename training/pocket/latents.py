"""Rendering and encoding of the training scenes into memory-mapped latents and token numbers.

Before encoding, the autoencoder's latent channels are brought to mean 0 and one common spread by folding the change
into its 1x1 convolutions, so a single scaling factor gives every channel unit variance.
"""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from .artwork import FluentArtwork, fetch
from .render import SIZE, render
from .scenes import CAPTIONS_PER_SCENE, Stream, captions, sample_scene
from .store import load_weights, save_json, save_weights, tensor_of
from .text import MAX_LENGTH, build_tokenizer, token_ids
from .train_vae import LATENT_CHANNELS, new_vae

_SIDE = SIZE // 8
_BLOCK = 16


def normalise(vae: AutoencoderKL, pictures: np.ndarray) -> float:
    """Give every latent channel mean 0 and the same spread, in place; return the scaling factor, 1 / spread.

    The decoder's input convolution undoes the change exactly, so decoded pictures stay the same.
    """
    with torch.no_grad():
        means = [vae.encode(tensor_of(pictures[i : i + 16])).latent_dist.mean for i in range(0, len(pictures), 16)]
        latents = torch.cat(means)
        centre, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        common = spread.square().mean().sqrt()
        gain = common / spread
        n = LATENT_CHANNELS
        vae.quant_conv.weight[:n] *= gain[:, None, None, None]
        vae.quant_conv.bias[:n] = (vae.quant_conv.bias[:n] - centre) * gain
        weight = vae.post_quant_conv.weight.clone()
        vae.post_quant_conv.weight.copy_(weight / gain[None, :, None, None])
        vae.post_quant_conv.bias += weight[:, :, 0, 0] @ centre
        # The reported spread of a sample is fixed at the noise the decoder was trained to bear.
        vae.quant_conv.weight[n:] = 0.0
        vae.quant_conv.bias[n:] = float(2.0 * torch.log(0.05 * common))
    return float(1.0 / common)


def encode_range(task: tuple[str, str, Stream, int, int, float]) -> None:
    """Render and encode scenes `first` to `last` of a stream into the memory-mapped latents of the work folder."""
    work, name, stream, first, last, scale = task
    torch.set_num_threads(1)
    artwork = FluentArtwork(fetch(Path(work)))
    vae = new_vae()
    load_weights(vae, Path(work) / "run" / "vae-frozen.safetensors")
    vae.eval()
    out = np.load(Path(work) / "run" / f"{name}.npy", mmap_mode="r+")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(first, last, _BLOCK):
            stop = min(start + _BLOCK, last)
            drawn = np.stack([render(sample_scene(i, stream), artwork).picture for i in range(start, stop)])
            mean = vae.encode(tensor_of(drawn)).latent_dist.mean.float() * scale
            out[start:stop] = mean.numpy().astype(np.float16)


def write_tokens(work: Path, name: str, stream: Stream, count: int) -> None:
    """Write the token numbers of every scene's captions, (scene, caption, position)."""
    tokenizer = build_tokenizer(work / "run" / "vocabulary")
    texts = [text for i in range(count) for text in captions(sample_scene(i, stream))]
    known = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    ids = token_ids(tokenizer, list(known)).numpy().astype(np.int16)
    table = ids[[known[text] for text in texts]]
    np.save(work / "run" / f"{name}-tokens.npy", table.reshape(count, CAPTIONS_PER_SCENE, MAX_LENGTH))


def build(work: Path, name: str, stream: Stream, count: int, processes: int, scale: float) -> None:
    """Cache `count` scenes of a stream under ``run/NAME.npy`` (float16) and ``run/NAME-tokens.npy``."""
    shape = (count, LATENT_CHANNELS, _SIDE, _SIDE)
    np.lib.format.open_memmap(work / "run" / f"{name}.npy", "w+", np.float16, shape).flush()
    write_tokens(work, name, stream, count)  # first, so that training may begin on the scenes encoded so far
    step = -(-count // processes)
    tasks = [(str(work), name, stream, i, min(i + step, count), scale) for i in range(0, count, step)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(encode_range, tasks)


def freeze(work: Path, vae_weights: Path) -> float:
    """Normalise the trained autoencoder, keep it as the frozen one, and return its scaling factor."""
    vae = new_vae()
    load_weights(vae, vae_weights)
    pictures = np.load(work / "run" / "pictures.npy", mmap_mode="r")[:512]
    scale = normalise(vae, pictures)
    save_weights(vae, work / "run" / "vae-frozen.safetensors")
    save_json({"scaling_factor": scale}, work / "run" / "vae-frozen.json")
    return scale


def main() -> None:
    """Freeze the autoencoder and cache training and held-out latents."""
    line = argparse.ArgumentParser(prog="python -m training.pocket.latents", description=__doc__)
    line.add_argument("--work", type=Path, required=True)
    line.add_argument("--vae", type=Path, required=True)
    line.add_argument("--count", type=int, default=40000)
    line.add_argument("--processes", type=int, default=2)
    args = line.parse_args()
    scale = freeze(args.work, args.vae)
    build(args.work, "heldout-latents", "heldout", 512, args.processes, scale)
    build(args.work, "latents", "train", args.count, args.processes, scale)


if __name__ == "__main__":
    main()
