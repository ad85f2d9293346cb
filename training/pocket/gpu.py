"""The whole training on one GPU, in pieces: ``python -m training.pocket.gpu``, again until it says "finished".

Every call works for `--piece` minutes at most, setting up included, and leaves a state that the next one resumes.
Scenes are drawn and encoded on the GPU while it trains, so nothing but the sprites' atlas is needed beside the code:
write it with ``python -m training.pocket atlas`` on a machine that has the artwork.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from . import train_unet, train_vae
from .atlas import Atlas, load_atlas
from .autoencoder import LATENT_CHANNELS, load_vae
from .compose import DeviceScenes
from .device_corpus import DeviceCorpus, picture_source
from .diffusion import Corpus
from .export import export
from .latents import encode_scenes, freeze, prepare, write_tokens
from .pictures import draw
from .precision import best_device, hurry
from .table import build_bank, build_table
from .unet import WIDTHS

_HELD = 192
_LAST = 0.5
"""Minutes that the last figures, the sheet and the export are given."""


class Session:
    """One call: what is left of its time, the folders, and the scenes on the device."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Render the few pictures that measuring needs and put the scenes on the device."""
        self._until = time.monotonic() + 60 * args.piece
        self.args, self.run = args, args.work / "run"
        self.device = best_device()
        hurry(self.device)
        self.threads = ["--threads", str(args.processes)]
        self.atlas: Atlas = load_atlas(args.atlas)
        draw(self.run, "pictures", "train", args.measure, self.atlas)
        draw(self.run, "heldout", "heldout", min(48, args.measure), self.atlas)
        table = build_table(self.run / "words", "train", args.scenes, args.variants, args.processes)
        self.scenes = DeviceScenes(self.atlas, build_bank(args.variants, args.processes), table, self.device)

    @property
    def left(self) -> str:
        """Minutes that are left of this call, as an argument."""
        return str(max(0.0, (self._until - time.monotonic()) / 60))

    def autoencoder(self) -> bool:
        """Train the autoencoder and freeze it; whether that is done."""
        frozen, args = self.run / "vae-frozen.safetensors", self.args
        if frozen.is_file():
            return True
        weights = args.vae
        if weights is None:
            files = ["--pictures", str(self.run / "pictures.npy"), "--heldout", str(self.run / "heldout.npy")]
            words = ["--run", str(self.run / "vae"), "--steps", "0", "--minutes", str(args.vae_minutes), *self.threads]
            words += ["--channels-latent", str(args.channels), "--batch", str(args.vae_batch), "--inside", "1"]
            words += ["--init-from", str(args.vae_from)] if args.vae_from else []
            settings = train_vae.parser().parse_args([*words, *files, "--piece", self.left])
            if train_vae.train(settings, picture_source(self.scenes, args.vae_batch, args.crop)).share < 1.0:
                return False
            weights = self.run / "vae" / "vae.safetensors"
        scale = freeze(args.work, weights)
        vae = load_vae(frozen).eval()
        write_tokens(args.work, "heldout-latents", "heldout", _HELD)
        prepare(self.run, "heldout-latents", _HELD, vae.config.latent_channels)
        encode_scenes(vae, self.atlas, self.run / "heldout-latents.npy", "heldout", (0, _HELD), scale)
        return True

    def denoiser(self) -> bool:
        """Train the denoiser; whether that is done."""
        args, frozen = self.args, self.run / "vae-frozen.safetensors"
        scale = json.loads(frozen.with_suffix(".json").read_text())["scaling_factor"]
        held = self.run / "heldout-latents.npy"
        empty = torch.from_numpy(Corpus(held, seed=0).empty.astype(np.int64))
        corpus = DeviceCorpus(self.scenes, load_vae(frozen), scale, empty, seed=0)
        words = ["--run", str(self.run / "unet"), "--latents", str(held), "--heldout", str(held), "--vae", str(frozen)]
        words += self.threads
        minutes = args.unet_minutes or max(0.05, float(self.left) - _LAST)
        words += ["--minutes", str(minutes), "--batch", str(args.batch), "--lr", str(args.lr)]
        words += ["--widths", *map(str, args.widths), "--decay", "0.35", "--ema", str(args.ema), "--piece", self.left]
        words += ["--truth", str(args.truth)] + (["--compile"] if args.compile else [])
        return train_unet.train(train_unet.parser().parse_args(words), corpus).share >= 1.0

    def export(self) -> None:
        """Write the model, in half precision, to ``WORK/model``, once."""
        out = self.args.work / "model"
        if not out.is_dir():
            frozen = self.run / "vae-frozen.safetensors"
            scale = json.loads(frozen.with_suffix(".json").read_text())["scaling_factor"]
            export(self.run / "unet", frozen, scale, out, tuple(self.args.widths), 1, self.args.ema)


def work(args: argparse.Namespace) -> bool:
    """Do one piece; return whether the model is finished."""
    if (args.work / "model").is_dir():
        return True
    session = Session(args)
    if not session.autoencoder() or not session.denoiser():
        return False
    session.export()
    return True


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    line = argparse.ArgumentParser(prog="python -m training.pocket.gpu", description=__doc__)
    line.add_argument("--work", type=Path, default=Path("training/pocket/run"), help="folder of everything in between")
    line.add_argument("--atlas", type=Path, default=Path("training/pocket/run/atlas.npz"))
    line.add_argument("--piece", type=float, default=9.0, help="minutes of this call")
    line.add_argument("--vae", type=Path, help="trained autoencoder to use instead of training one")
    line.add_argument("--vae-from", type=Path, help="autoencoder to train further")
    line.add_argument("--channels", type=int, default=LATENT_CHANNELS, help="latent channels")
    line.add_argument("--vae-minutes", type=float, default=4.0)
    line.add_argument("--vae-batch", type=int, default=128)
    line.add_argument("--crop", type=int, default=128)
    line.add_argument("--unet-minutes", type=float, default=19.0, help="0: what this call has left")
    line.add_argument("--widths", type=int, nargs="+", default=[*WIDTHS])
    line.add_argument("--batch", type=int, default=512)
    line.add_argument("--lr", type=float, default=2e-3)
    line.add_argument("--ema", type=float, default=0.999)
    line.add_argument("--truth", type=float, default=0.0, help="weight of the truth head; compiled once more for it")
    line.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    line.add_argument("--scenes", type=int, default=320_000)
    line.add_argument("--variants", type=int, default=512, help="backdrops of each ground and time")
    line.add_argument("--measure", type=int, default=512, help="pictures rendered for measuring")
    line.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return line


def main() -> None:
    """Do one piece and say whether it was the last."""
    finished = work(parser().parse_args())
    print("finished" if finished else "to be continued", file=sys.stderr)


if __name__ == "__main__":
    main()
