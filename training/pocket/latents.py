"""Rendering and encoding of the training scenes into memory-mapped latents, token numbers and class maps.

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
from numpy.typing import NDArray

from .artwork import Artwork, FluentArtwork, fetch
from .autoencoder import load_vae
from .captions import CAPTIONS_PER_SCENE, captions
from .precision import autocast
from .render import SIZE, render
from .scenes import Stream, sample_scene
from .store import save_json, save_weights, tensor_of
from .text import MAX_LENGTH, build_tokenizer, token_ids
from .train_vae import LATENT_NOISE
from .truth_head import CELL, class_map

SIDE = SIZE // CELL
"""Latent cells along the side of a picture."""
_BLOCK = 16


def normalise(vae: AutoencoderKL, pictures: NDArray[np.uint8]) -> float:
    """Give every latent channel mean 0 and the same spread, in place; return the scaling factor, 1 / spread.

    The decoder's input convolution undoes the change exactly, so decoded pictures stay the same.
    """
    n = vae.config.latent_channels
    with torch.no_grad():
        parts = (tensor_of(pictures[i : i + 16]).to(vae.device) for i in range(0, len(pictures), 16))
        latents = torch.cat([vae.encode(part).latent_dist.mean for part in parts])
        centre, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        common = spread.square().mean().sqrt()
        gain = common / spread
        vae.quant_conv.weight[:n] *= gain[:, None, None, None]
        vae.quant_conv.bias[:n] = (vae.quant_conv.bias[:n] - centre) * gain
        weight = vae.post_quant_conv.weight.clone()
        vae.post_quant_conv.weight.copy_(weight / gain[None, :, None, None])
        vae.post_quant_conv.bias += weight[:, :, 0, 0] @ centre
        # The reported spread of a sample is fixed at the noise the decoder was trained to bear.
        vae.quant_conv.weight[n:] = 0.0
        vae.quant_conv.bias[n:] = float(2.0 * torch.log(LATENT_NOISE * common))
    return float(1.0 / common)


def encode_range(task: tuple[str, str, Stream, int, int, float]) -> None:
    """Render and encode scenes `first` to `last` of a stream into the memory-mapped files of the work folder.

    Blocks that are encoded already are skipped, so a stopped job goes on where it was.
    """
    work, name, stream, first, last, scale = task
    torch.set_num_threads(1)
    run = Path(work) / "run"
    vae = load_vae(run / "vae-frozen.safetensors").eval().to(memory_format=torch.channels_last)
    encode_scenes(vae, FluentArtwork(fetch(Path(work))), run / f"{name}.npy", stream, (first, last), scale)


def encode_scenes(
    vae: AutoencoderKL, artwork: Artwork, path: Path, stream: Stream, scenes: tuple[int, int], scale: float
) -> None:
    """Encode a range of scenes into ``NAME.npy`` and, first, their class maps into ``NAME-classes.npy``."""
    out = np.load(path, mmap_mode="r+")
    classes = np.load(path.with_name(f"{path.stem}-classes.npy"), mmap_mode="r+")
    with torch.no_grad(), autocast(torch.device("cpu")):
        for start in range(*scenes, _BLOCK):
            stop = min(start + _BLOCK, scenes[1])
            if out[stop - 1, 0, 0].any():
                continue
            drawn = [(scene, render(scene, artwork)) for scene in (sample_scene(i, stream) for i in range(start, stop))]
            classes[start:stop] = np.stack([class_map(*pair) for pair in drawn])
            pictures = tensor_of(np.stack([rendering.picture for _, rendering in drawn]))
            out[start:stop] = (vae.encode(pictures).latent_dist.mean.float() * scale).numpy().astype(np.float16)


def write_tokens(work: Path, name: str, stream: Stream, count: int) -> None:
    """Write the token numbers of every scene's captions, (scene, caption, position)."""
    tokenizer = build_tokenizer(work / "run" / "vocabulary")
    texts = [text for i in range(count) for text in captions(sample_scene(i, stream))]
    known = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    ids = token_ids(tokenizer, list(known)).numpy().astype(np.int16)
    table = ids[[known[text] for text in texts]]
    np.save(work / "run" / f"{name}-tokens.npy", table.reshape(count, CAPTIONS_PER_SCENE, MAX_LENGTH))


def prepare(run: Path, name: str, count: int, channels: int) -> None:
    """Make the files of `count` scenes, all zero, unless they are there: a zero latent is one not encoded yet."""
    latents = ("", np.float16, (count, channels, SIDE, SIDE))
    for suffix, kind, shape in (latents, ("-classes", np.uint8, (count, SIDE, SIDE))):
        path = run / f"{name}{suffix}.npy"
        if not path.is_file() or np.load(path, mmap_mode="r").shape != shape:
            np.lib.format.open_memmap(path, "w+", kind, shape).flush()


def build(work: Path, name: str, stream: Stream, count: int, processes: int, scale: float) -> None:
    """Cache `count` scenes of a stream: ``run/NAME.npy`` (float16), ``-tokens.npy`` and ``-classes.npy``; resumable."""
    channels = load_vae(work / "run" / "vae-frozen.safetensors").config.latent_channels
    write_tokens(work, name, stream, count)  # first, so that training may begin on the scenes encoded so far
    prepare(work / "run", name, count, channels)
    step = -(-count // processes)
    tasks = [(str(work), name, stream, i, min(i + step, count), scale) for i in range(0, count, step)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(encode_range, tasks)


def freeze(work: Path, vae_weights: Path) -> float:
    """Normalise the trained autoencoder, keep it as the frozen one, and return its scaling factor."""
    vae = load_vae(vae_weights)
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
    line.add_argument("--count", type=int, default=60_000)
    line.add_argument("--processes", type=int, default=2)
    args = line.parse_args()
    scale = freeze(args.work, args.vae)
    build(args.work, "heldout-latents", "heldout", 512, args.processes, scale)
    build(args.work, "latents", "train", args.count, args.processes, scale)


if __name__ == "__main__":
    main()
