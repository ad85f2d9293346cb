"""Training of the autoencoder on crops of rendered scenes, and later of its decoder alone on frozen latents.

The schedule counts steps, so a run may be stopped, shared with other work and resumed: every step's crops and noises
follow from the seed and the step's number.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from .autoencoder import LATENT_CHANNELS, fidelity, load_vae, new_vae, picture_loss, returned
from .optim import optimizers, set_rate
from .pictures import crops, open_pictures
from .state import Ema, load_state, save_state
from .store import save_weights, tensor_of, write_sheet

LATENT_NOISE = 0.05
SHRINK = 0.2
"""Share of the steps that decode latents of half the size against pictures of half the size.

It keeps the latents' fine frequencies low, which a denoiser learns with ease (Skorokhodov et al. 2025, Kouzelis et al.
2025), and these steps are the cheaper ones.
"""


def rate(step: int, steps: int, warmup: int = 100) -> float:
    """Return the learning-rate factor: warm-up, then half a cosine down to 1 % at `steps`."""
    return min(1.0, (step + 1) / warmup) * max(0.01, 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


class Run:
    """Everything that a training run holds: the networks, their average, the optimizers and the pictures."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Build, start from other weights, or resume."""
        self.args, self.folder = args, Path(args.run)
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        self.pictures = open_pictures(Path(args.pictures))
        held = open_pictures(Path(args.heldout))
        self.held = held[0][: args.measure], held[1][: args.measure]
        self.vae = load_vae(Path(args.init_from)) if args.init_from else new_vae(args.channels_latent)
        self.vae.to(memory_format=torch.channels_last)
        if args.decoder_only:
            self.vae.encoder.requires_grad_(False)
            self.vae.quant_conv.requires_grad_(False)
        self.made = optimizers([self.vae], args.optimizer, args.lr, decay=0.0)
        self.averages = [Ema(self.vae, decay) for decay in args.ema]
        self.step, self.minutes = 0, 0.0
        if (self.folder / "state.json").is_file():
            self.step, self.minutes = load_state(self.folder, self.vae, self.averages, self.made)

    def advance(self) -> float:
        """Take one step; return the loss."""
        args = self.args
        rng = np.random.default_rng([args.seed, self.step])
        torch.manual_seed(int(rng.integers(1 << 31)))
        truth, mask = crops(*self.pictures, args.batch, args.crop, args.prefer, rng)
        shrink = bool(rng.uniform() < SHRINK) and not args.decoder_only
        set_rate(self.made, rate(self.step, args.steps))
        loss = step_loss(self.vae, truth, 1.0 + args.inside * mask, args.decoder_only, shrink)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        for optimizer in self.made:
            optimizer.step()
            optimizer.zero_grad()
        for ema in self.averages:
            ema.update(self.vae, self.step)
        self.step += 1
        return float(loss.detach())

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
    with torch.set_grad_enabled(not frozen):
        posterior = vae.encode(truth.contiguous(memory_format=torch.channels_last)).latent_dist
    mean = posterior.mean
    spread = mean.detach().std()
    if shrink:
        mean, truth, weight = (functional.avg_pool2d(part, 2) for part in (mean, truth, weight))
    made = vae.decode(mean + LATENT_NOISE * spread * torch.randn_like(mean)).sample
    loss = picture_loss(made, truth, weight)
    return loss if frozen else loss + 1e-6 * posterior.kl().mean()


def train(args: argparse.Namespace) -> None:
    """Train up to step `args.steps`; the log's minutes are this process's own computing time, resumed runs summed."""
    run = Run(args)
    before, started = run.minutes, time.process_time()
    saved, total, count = before, 0.0, 0
    while run.step < args.steps:
        total, count = total + run.advance(), count + 1
        run.minutes = before + (time.process_time() - started) / 60
        due = run.minutes - saved >= args.every or run.step == args.steps
        if due or run.step % 100 == 0:
            entry = {"step": run.step, "minutes": round(run.minutes, 2), "loss": round(total / count, 4)}
            if due:
                entry |= run.save()
                saved = run.minutes
            with (run.folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")
            total, count = 0.0, 0


def parser() -> argparse.ArgumentParser:
    """Return the command line of this stage."""
    line = argparse.ArgumentParser(prog="python -m training.pocket.train_vae", description=__doc__)
    line.add_argument("--run", required=True, help="folder of state, weights, log and sheet; resumed if it has a state")
    line.add_argument("--pictures", required=True, help="pictures that the pictures stage wrote")
    line.add_argument("--heldout", required=True)
    line.add_argument("--channels-latent", type=int, default=LATENT_CHANNELS)
    line.add_argument("--steps", type=int, default=2000, help="length of the schedule, resumed runs included")
    line.add_argument("--every", type=float, default=4.0, help="minutes between saves")
    line.add_argument("--measure", type=int, default=48, help="held-out pictures to measure on")
    line.add_argument("--optimizer", default="muon")
    line.add_argument("--lr", type=float, default=2e-3)
    line.add_argument("--batch", type=int, default=12)
    line.add_argument("--crop", type=int, default=64)
    line.add_argument("--prefer", type=float, default=0.7, help="share of the crops laid on an object")
    line.add_argument("--inside", type=float, default=0.0, help="further weight of the pixels inside objects")
    line.add_argument("--ema", type=float, nargs="+", default=[0.998], help="averages; the first is measured")
    line.add_argument("--threads", type=int, default=2)
    line.add_argument("--seed", type=int, default=0)
    line.add_argument("--init-from", default="", help="weights to start from")
    line.add_argument("--decoder-only", action="store_true")
    return line


if __name__ == "__main__":
    train(parser().parse_args())
