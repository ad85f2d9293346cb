"""Training of the autoencoder on crops of rendered scenes, and later of its decoder alone on frozen latents.

A run may be stopped, shared with other work and resumed: the schedule counts steps or the process's own computing
time, and every step's crops and noises follow from the seed and the step's number.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from .autoencoder import LATENT_CHANNELS, fidelity, load_vae, new_vae, picture_loss, returned
from .optim import optimizers, set_rate
from .pictures import crops, open_pictures
from .precision import autocast, best_device, clock
from .state import Ema, load_state, save_state
from .store import save_weights, tensor_of, write_sheet

LATENT_NOISE = 0.05
SHRINK = 0.2
"""Share of the steps that decode latents of half the size against pictures of half the size.

It keeps the latents' fine frequencies low, which a denoiser learns with ease (Skorokhodov et al. 2025, Kouzelis et al.
2025), and these steps are the cheaper ones.
"""


Source = Callable[[np.random.Generator], tuple[Tensor, Tensor]]
"""Gives a batch of pictures (batch, RGB, row, column) in [-1, 1] and their silhouettes, 0 or 1, for random numbers."""


def rate(share: float, step: int, warmup: int = 100) -> float:
    """Return the learning-rate factor: warm-up by steps, then half a cosine down to 1 % at the whole `share`."""
    return min(1.0, (step + 1) / warmup) * max(0.01, 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


class Run:
    """Everything that a training run holds: the networks, their average, the optimizers and the pictures."""

    def __init__(self, args: argparse.Namespace, source: Source | None = None) -> None:
        """Build, start from other weights, or resume; `source` replaces the crops of the rendered pictures."""
        self.args, self.folder = args, Path(args.run)
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        self.source = source or self._crops(Path(args.pictures))
        held = open_pictures(Path(args.heldout))
        self.held = held[0][: args.measure], held[1][: args.measure]
        self.vae = load_vae(Path(args.init_from)) if args.init_from else new_vae(args.channels_latent)
        self.device = torch.device(args.device) if args.device else best_device()
        self.vae.to(self.device, memory_format=torch.channels_last)
        if args.decoder_only:
            self.vae.encoder.requires_grad_(False)
            self.vae.quant_conv.requires_grad_(False)
        self.made = optimizers([self.vae], args.optimizer, args.lr, decay=0.0)
        self.averages = [Ema(self.vae, decay) for decay in args.ema]
        self.step, self.minutes = 0, 0.0
        if (self.folder / "state.json").is_file():
            self.step, self.minutes = load_state(self.folder, self.vae, self.averages, self.made)

    def _crops(self, path: Path) -> Source:
        args, pictures = self.args, open_pictures(path)
        return lambda rng: crops(*pictures, args.batch, args.crop, args.prefer, rng)

    @property
    def share(self) -> float:
        """How much of the schedule is done, 0 to 1: by steps if their number is given, else by training time."""
        return float(self.step / self.args.steps if self.args.steps else self.minutes / self.args.minutes)

    def advance(self) -> Tensor:
        """Take one step; return the loss."""
        args = self.args
        rng = np.random.default_rng([args.seed, self.step])
        torch.manual_seed(int(rng.integers(1 << 31)))
        truth, mask = (part.to(self.device) for part in self.source(rng))
        shrink = bool(rng.uniform() < SHRINK) and not args.decoder_only
        set_rate(self.made, rate(self.share, self.step))
        loss = step_loss(self.vae, truth, 1.0 + args.inside * mask, args.decoder_only, shrink)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        for optimizer in self.made:
            optimizer.step()
            optimizer.zero_grad()
        for ema in self.averages:
            ema.update(self.vae, self.step)
        self.step += 1
        return loss.detach()

    def save(self) -> dict[str, float]:
        """Write the state, the average as ``vae.safetensors`` and a sheet; return the held-out figures."""
        save_state(self.folder, self.vae, self.averages, self.made, self.step, self.minutes)
        with self.averages[0].applied(self.vae):
            save_weights(self.vae, self.folder / "vae.safetensors")
            out = returned(self.vae, self.held[0])
        rows = [part[i : i + 12] for i in (0, 12) for part in (tensor_of(self.held[0]), out)]
        write_sheet([row for row in rows if len(row)], self.folder / "sheet.png")
        return {name: round(value, 3) for name, value in fidelity(out, *self.held).items()}


def step_loss(vae: AutoencoderKL, truth: Tensor, weight: Tensor, frozen: bool, shrink: bool) -> Tensor:
    """Return the loss of encode, noise, decode; with `shrink` the latents and the truth are halved in between."""
    half = autocast(truth.device)
    with half, torch.set_grad_enabled(not frozen):
        posterior = vae.encode(truth.contiguous(memory_format=torch.channels_last)).latent_dist
        mean = posterior.mean
    spread = mean.detach().std()
    if shrink:
        mean, truth, weight = (functional.avg_pool2d(part, 2) for part in (mean, truth, weight))
    with half:
        made = vae.decode(mean + LATENT_NOISE * spread * torch.randn_like(mean)).sample
    loss = picture_loss(made.float(), truth, weight)
    return loss if frozen else loss + 1e-6 * posterior.kl().mean()


def train(args: argparse.Namespace, source: Source | None = None) -> Run:
    """Train until the schedule's end or, to be resumed, for `args.piece` minutes of training time."""
    run = Run(args, source)
    before, started = run.minutes, clock(run.device)
    saved, total, count = before, torch.zeros((), device=run.device), 0
    while run.share < 1.0 and run.minutes - before < args.piece:
        total, count = total + run.advance(), count + 1
        run.minutes = before + clock(run.device) - started
        due = run.minutes - saved >= args.every or run.share >= 1.0 or run.minutes - before >= args.piece
        if due or run.step % 100 == 0:
            entry = {"step": run.step, "minutes": round(run.minutes, 2), "loss": round(float(total) / count, 4)}
            if due:
                entry |= run.save()
                saved = run.minutes
            with (run.folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")
            total, count = torch.zeros_like(total), 0
    return run


def parser() -> argparse.ArgumentParser:
    """Return the command line of this stage."""
    line = argparse.ArgumentParser(prog="python -m training.pocket.train_vae", description=__doc__)
    line.add_argument("--run", required=True, help="folder of state, weights, log and sheet; resumed if it has a state")
    line.add_argument("--pictures", required=True, help="pictures that the pictures stage wrote")
    line.add_argument("--heldout", required=True)
    line.add_argument("--channels-latent", type=int, default=LATENT_CHANNELS)
    line.add_argument("--steps", type=int, default=2000, help="length of the schedule; 0: --minutes counts")
    line.add_argument("--minutes", type=float, default=90.0, help="length in training time, resumed runs included")
    line.add_argument("--piece", type=float, default=1e9, help="stop after so many minutes of it, to resume")
    line.add_argument("--every", type=float, default=4.0, help="minutes between saves")
    line.add_argument("--measure", type=int, default=48, help="held-out pictures to measure on")
    line.add_argument("--optimizer", default="muon")
    line.add_argument("--lr", type=float, default=2e-3)
    line.add_argument("--batch", type=int, default=12)
    line.add_argument("--crop", type=int, default=64)
    line.add_argument("--prefer", type=float, default=0.7, help="share of the crops laid on an object")
    line.add_argument("--inside", type=float, default=0.0, help="further weight of the pixels inside objects")
    line.add_argument("--ema", type=float, nargs="+", default=[0.998], help="averages; the first is measured")
    line.add_argument("--device", default="", help="default: CUDA if there is any")
    line.add_argument("--threads", type=int, default=2)
    line.add_argument("--seed", type=int, default=0)
    line.add_argument("--init-from", default="", help="weights to start from")
    line.add_argument("--decoder-only", action="store_true")
    return line


if __name__ == "__main__":
    train(parser().parse_args())
