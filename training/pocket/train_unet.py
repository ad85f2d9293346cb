"""Joint training of the denoiser and the text encoder on cached latents, resumable.

v-prediction with the plain squared error at every level: weights that favour the clean levels starve those where the
shape of an object is decided. Levels are drawn a little towards the noisy end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .denoiser import Denoiser, warm_start
from .diffusion import DIFFUSION, Corpus, Examples, Process, held_out_loss, v_loss
from .optim import optimizers, set_rate, split
from .parallel import Team
from .precision import best_device, clock
from .samples import generate, sample_sheet
from .state import Ema, load_state, save_state
from .unet import WIDTHS


def rate(share: float, step: int, warmup: int, decay_share: float) -> float:
    """Return the learning-rate factor: warm-up by steps, constant, then linear to 2 % over the last share."""
    fall = 1.0 if share < 1.0 - decay_share else max(0.02, (1.0 - share) / decay_share)
    return min(1.0, (step + 1) / warmup) * fall


def truth_weight(share: float, weight: float) -> float:
    """Return the truth head's weight in the loss: constant, and nothing in the last third of the run."""
    return weight if share < 2 / 3 else 0.0


@dataclass(frozen=True)
class Kind:
    """What is trained.

    Attributes:
        build: from the settings, the folder of the run and the latent channels to the networks.
        parts: of the networks, in the order in which their weights are given to the optimizers.
        process: what they are to predict.
        generate: latents (batch, channel, 16, 16) of texts and a seed, for the sample sheets.
        compiled: the networks, compiled for training.
    """

    build: Callable[[argparse.Namespace, Path, int], nn.Module]
    parts: tuple[str, ...]
    process: Process
    generate: Callable[[Any, list[str], int], torch.Tensor]
    compiled: Callable[[Any], Any] = torch.compile


def _denoiser(args: argparse.Namespace, folder: Path, channels: int) -> Denoiser:
    model = Denoiser(folder, tuple(args.widths), args.layers, channels)
    if args.init_from:
        warm_start(model, Path(args.init_from))
    return model


UNET = Kind(_denoiser, ("unet", "text", "head"), DIFFUSION, generate)


class Run:
    """Everything that a training run holds: the model, its averages, the optimizers, the data and the team."""

    def __init__(self, args: argparse.Namespace, corpus: Examples | None = None, kind: Kind = UNET) -> None:
        """Build or resume; `corpus` replaces the cached latents."""
        self.args, self.folder, self.kind = args, Path(args.run), kind
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        self.team = Team(args.rank, args.world, self.folder / "meeting")
        self.held = Corpus(Path(args.heldout), seed=1)
        self.device = torch.device(args.device) if args.device else best_device()
        self.model = kind.build(args, self.folder, self.held.channels).to(self.device)
        parts = [self.model.get_submodule(name) for name in kind.parts]
        self.predict = kind.compiled(self.model) if args.compile else self.model
        self.hidden = split(parts)[0] if args.optimizer == "muon" else []
        self.made = optimizers(parts, args.optimizer, args.lr, team=self.team, iterations=args.iterations)
        self.averages = [Ema(self.model, decay) for decay in args.ema]
        self.step, self.minutes = 0, 0.0
        if (self.folder / "state.json").is_file():
            self.step, self.minutes = load_state(self.folder, self.model, self.averages, self.made, args.rank)
        self.corpus = corpus or Corpus(Path(args.latents), seed=args.seed * 97 + args.rank)
        self.corpus.skip(self.step)

    @property
    def share(self) -> float:
        """How much of the schedule is done, 0 to 1: by steps if their number is given, else by training time."""
        return float(self.step / self.args.steps if self.args.steps else self.minutes / self.args.minutes)

    def advance(self, minutes: float) -> torch.Tensor:
        """Take one step; `minutes` is the training time so far by this process's clock. Return the error of v."""
        args, share = self.args, self.share
        set_rate(self.made, rate(share, self.step, args.warmup, args.decay))
        batch = self.corpus.batch(args.batch // args.world, dropout=0.12).to(self.device)
        weight = truth_weight(share, args.truth)
        loss, error = v_loss(self.predict, batch, self.corpus.generator, weight, self.kind.process)
        loss.backward()  # type: ignore[no-untyped-call]
        weights = list(self.model.parameters())
        self.minutes = self.team.average(weights, minutes)
        nn.utils.clip_grad_norm_(weights, 1.0)
        for optimizer in self.made:
            optimizer.step()
            optimizer.zero_grad()
        self.team.exchange(self.hidden)
        if args.rank == 0:
            for ema in self.averages:
                ema.update(self.model, self.step)
        self.step += 1
        return error

    def save(self) -> dict[str, float]:
        """Write the state; the first process also measures the held-out error of every average."""
        save_state(self.folder, self.model, self.averages, self.made, self.step, self.minutes, self.args.rank)
        self.corpus.refresh()
        figures: dict[str, float] = {}
        for ema in self.averages if self.args.rank == 0 else []:
            with ema.applied(self.model), torch.compiler.set_stance("force_eager"):
                loss = held_out_loss(self.model, self.held, device=self.device, process=self.kind.process)
            figures[f"held_out_{ema.decay:g}"] = round(loss, 4)
        return figures

    def sheet(self, name: str, count: int = 16) -> None:
        """Draw a sample sheet with the first average, in the first process."""
        if self.args.vae and self.args.rank == 0:
            with self.averages[0].applied(self.model), torch.compiler.set_stance("force_eager"):
                sample_sheet(self.model, Path(self.args.vae), self.folder / name, count, generate=self.kind.generate)

    def log(self, entry: dict[str, float]) -> None:
        """Add a line to the log, in the first process."""
        if self.args.rank == 0:
            entry = {"step": self.step, "minutes": round(self.minutes, 2)} | entry
            with (self.folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")


def train(args: argparse.Namespace, corpus: Examples | None = None, kind: Kind = UNET) -> Run:
    """Train until the schedule's end or, to be resumed, for `args.piece` minutes of training time."""
    run = Run(args, corpus, kind)
    before, started = run.minutes, clock(run.device)
    saved, drawn, total, count = before, before, torch.zeros((), device=run.device), 0
    while run.share < 1.0 and run.minutes - before < args.piece:
        total, count = total + run.advance(before + clock(run.device) - started), count + 1
        entry: dict[str, float] = {}
        if run.minutes - saved >= args.save_every:
            saved = run.minutes
            entry = run.save()
        if run.minutes - drawn >= args.sheet_every:
            drawn = run.minutes
            run.sheet(f"sheet-{int(run.minutes):03d}.png")
        if entry or run.step % 50 == 0:
            run.log({"loss": round(float(total) / count, 4)} | entry)
            total, count = torch.zeros((), device=run.device), 0
    run.log(({"final": 1.0} if run.share >= 1.0 else {}) | run.save())
    if run.share >= 1.0:
        run.sheet("sheet-final.png", count=24)
    return run


def parser() -> argparse.ArgumentParser:
    """Return the command line of this stage."""
    line = argparse.ArgumentParser(prog="python -m training.pocket.train_unet", description=__doc__)
    line.add_argument("--run", required=True, help="folder of checkpoints, log and sample sheets")
    line.add_argument("--latents", required=True)
    line.add_argument("--heldout", required=True)
    line.add_argument("--vae", default="", help="frozen autoencoder for sample sheets")
    line.add_argument("--init-from", default="", help="exported model folder to start from")
    line.add_argument("--steps", type=int, default=0, help="length of the schedule; 0: --minutes counts")
    line.add_argument("--minutes", type=float, default=85.0, help="length in training time, resumed runs included")
    line.add_argument("--piece", type=float, default=1e9, help="stop after so many minutes of it, to resume")
    line.add_argument("--optimizer", default="muon")
    line.add_argument("--lr", type=float, default=1.5e-3)
    line.add_argument("--iterations", type=int, default=5, help="of Newton and Schulz in each step of Muon")
    line.add_argument("--batch", type=int, default=32)
    line.add_argument("--widths", type=int, nargs="+", default=[*WIDTHS])
    line.add_argument("--layers", type=int, default=1)
    line.add_argument("--compile", action="store_true", help="compile the step: minutes once, then a little faster")
    line.add_argument("--warmup", type=int, default=100)
    line.add_argument("--decay", type=float, default=0.4, help="last share of the run, in which the rate falls to zero")
    line.add_argument("--truth", type=float, default=0.1, help="weight of the truth head; 0: none")
    line.add_argument("--ema", type=float, nargs="+", default=[0.998, 0.9995], help="averages; sheets show the first")
    line.add_argument("--device", default="", help="default: CUDA if there is any")
    line.add_argument("--threads", type=int, default=2)
    line.add_argument("--world", type=int, default=1, help="processes that train in step")
    line.add_argument("--rank", type=int, default=0, help="which of them this one is")
    line.add_argument("--save-every", type=float, default=5.0)
    line.add_argument("--sheet-every", type=float, default=10.0)
    line.add_argument("--seed", type=int, default=0)
    return line


if __name__ == "__main__":
    train(parser().parse_args())
