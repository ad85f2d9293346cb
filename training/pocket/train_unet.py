"""Joint training of the denoiser and the text encoder on cached latents, by the clock, resumable.

v-prediction with the plain squared error at every level: weights that favour the clean levels starve those where the
shape of an object is decided. Levels are drawn a little towards the noisy end.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from .diffusion import Corpus, held_out_loss, v_loss
from .optim import optimizers, set_rate, split
from .parallel import Team
from .samples import sample_sheet
from .state import Ema, load_state, save_state
from .text import build_tokenizer, new_text_encoder
from .unet import TEXT_WIDTH, new_unet


class Denoiser(nn.Module):
    """The two networks that are trained together."""

    def __init__(self, folder: Path, widths: tuple[int, ...], layers: int) -> None:
        """Build untrained networks; the tokenizer's files are written under `folder`."""
        super().__init__()
        self.tokenizer = build_tokenizer(folder / "vocabulary")
        self.text = new_text_encoder(self.tokenizer, TEXT_WIDTH)
        self.unet = new_unet(widths, layers).to(memory_format=torch.channels_last)

    def forward(self, noised: Tensor, level: Tensor, tokens: Tensor) -> Tensor:
        """Return the predicted v for latents (batch, 8, 16, 16), levels (batch,), tokens (batch, MAX_LENGTH)."""
        states = self.text(tokens).last_hidden_state
        made: Tensor = self.unet(noised, level, states).sample
        return made


def rate(share: float, step: int, warmup: int, decay_share: float) -> float:
    """Return the learning-rate factor: warm-up by steps, constant, then linear to 2 % over the last share of time."""
    fall = 1.0 if share < 1.0 - decay_share else max(0.02, (1.0 - share) / decay_share)
    return min(1.0, (step + 1) / warmup) * fall


class Run:
    """Everything that a training run holds: the model, its average, the optimizers, the data and the team."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Build or resume."""
        self.args, self.folder = args, Path(args.run)
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(args.seed)
        torch.set_num_threads(args.threads)
        self.team = Team(args.rank, args.world, self.folder / "meeting")
        self.model = Denoiser(self.folder, tuple(args.widths), args.layers)
        if args.init_from:
            load_export(self.model, Path(args.init_from))
        parts: list[nn.Module] = [self.model.unet, self.model.text]
        self.predict = torch.compile(self.model) if args.compile else self.model
        self.hidden = split(parts)[0] if args.optimizer == "muon" else []
        self.made = optimizers(parts, args.optimizer, args.lr, team=self.team)
        self.ema = Ema(self.model, args.ema)
        self.step, self.minutes = 0, 0.0
        if (self.folder / "state.json").is_file():
            self.step, self.minutes = load_state(self.folder, self.model, self.ema, self.made, args.rank)
        self.corpus = Corpus(Path(args.latents), seed=args.seed * 97 + args.rank)
        self.corpus.skip(self.step)
        self.held = Corpus(Path(args.heldout), seed=1)

    def advance(self, minutes: float) -> float:
        """Take one step; `minutes` is this process's clock. Return the loss."""
        args = self.args
        set_rate(self.made, rate(self.minutes / args.minutes, self.step, args.warmup, args.decay))
        batch = self.corpus.batch(args.batch // args.world, dropout=0.12)
        loss = v_loss(self.predict, *batch, generator=self.corpus.generator)
        loss.backward()  # type: ignore[no-untyped-call]
        weights = list(self.model.parameters())
        self.minutes = self.team.average(weights, minutes)
        nn.utils.clip_grad_norm_(weights, 1.0)
        for optimizer in self.made:
            optimizer.step()
            optimizer.zero_grad()
        self.team.exchange(self.hidden)
        if args.rank == 0:
            self.ema.update(self.model, self.step)
        self.step += 1
        return float(loss.detach())

    def save(self) -> dict[str, float]:
        """Write the state; the first process also measures the held-out loss of the average."""
        save_state(self.folder, self.model, self.ema, self.made, self.step, self.minutes, self.args.rank)
        self.corpus.refresh()
        if self.args.rank:
            return {}
        with self.ema.applied(self.model):
            return {"held_out": round(held_out_loss(self.model, self.held), 4)}

    def sheet(self, name: str, count: int = 16) -> None:
        """Draw a sample sheet with the average, in the first process."""
        if self.args.vae and self.args.rank == 0:
            with self.ema.applied(self.model):
                sample_sheet(self.model, Path(self.args.vae), self.folder / name, count)

    def log(self, entry: dict[str, float]) -> None:
        """Add a line to the log, in the first process."""
        if self.args.rank == 0:
            entry = {"step": self.step, "minutes": round(self.minutes, 2)} | entry
            with (self.folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")


def train(args: argparse.Namespace) -> None:
    """Train until `args.minutes` of training time (summed over resumed runs) have passed."""
    run = Run(args)
    before, started = run.minutes, time.monotonic()
    saved, drawn, total, count = before, before, 0.0, 0
    while run.minutes < args.minutes:
        total, count = total + run.advance(before + (time.monotonic() - started) / 60), count + 1
        entry: dict[str, float] = {}
        if run.minutes - saved >= args.save_every:
            saved = run.minutes
            entry = run.save()
        if run.minutes - drawn >= args.sheet_every:
            drawn = run.minutes
            run.sheet(f"sheet-{int(run.minutes):03d}.png")
        if entry or run.step % 50 == 0:
            run.log({"loss": round(total / count, 4)} | entry)
            total, count = 0.0, 0
    run.log({"final": 1.0} | run.save())
    run.sheet("sheet-final.png", count=24)


def load_export(model: Denoiser, folder: Path) -> None:
    """Start from the networks of an exported model folder."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    model.unet.load_state_dict(unet.state_dict())
    model.text.load_state_dict(text.state_dict())


def parser() -> argparse.ArgumentParser:
    """Return the command line of this stage."""
    line = argparse.ArgumentParser(prog="python -m training.pocket.train_unet", description=__doc__)
    line.add_argument("--run", required=True, help="folder of checkpoints, log and sample sheets")
    line.add_argument("--latents", required=True)
    line.add_argument("--heldout", required=True)
    line.add_argument("--vae", default="", help="frozen autoencoder for sample sheets")
    line.add_argument("--init-from", default="", help="exported model folder to start from")
    line.add_argument("--minutes", type=float, default=85.0, help="training time in all, resumed runs included")
    line.add_argument("--optimizer", default="muon")
    line.add_argument("--lr", type=float, default=1.5e-3)
    line.add_argument("--batch", type=int, default=32)
    line.add_argument("--widths", type=int, nargs="+", default=[128, 192])
    line.add_argument("--layers", type=int, default=1)
    line.add_argument("--compile", action="store_true", help="compile the step: minutes once, then a little faster")
    line.add_argument("--warmup", type=int, default=100)
    line.add_argument("--decay", type=float, default=0.2)
    line.add_argument("--ema", type=float, default=0.998)
    line.add_argument("--threads", type=int, default=2)
    line.add_argument("--world", type=int, default=1, help="processes that train in step")
    line.add_argument("--rank", type=int, default=0, help="which of them this one is")
    line.add_argument("--save-every", type=float, default=5.0)
    line.add_argument("--sheet-every", type=float, default=10.0)
    line.add_argument("--seed", type=int, default=0)
    return line


if __name__ == "__main__":
    train(parser().parse_args())
