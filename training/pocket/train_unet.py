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
from .optim import optimizers, set_rate
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


def train(args: argparse.Namespace) -> None:
    """Train until `args.minutes` of training time (summed over resumed runs) have passed."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    run = Path(args.run)
    run.mkdir(parents=True, exist_ok=True)
    model = Denoiser(run, tuple(args.widths), args.layers)
    if args.init_from:
        load_export(model, Path(args.init_from))
    made = optimizers([model.unet, model.text], args.optimizer, args.lr)
    ema = Ema(model, args.ema)
    corpus = Corpus(Path(args.latents), seed=args.seed)
    held = Corpus(Path(args.heldout), seed=1)
    step, before = load_state(run, model, ema, made) if (run / "state.json").is_file() else (0, 0.0)
    corpus.skip(step)
    started, saved, sheet, total, count = time.monotonic(), before, before, 0.0, 0
    while (minutes := before + (time.monotonic() - started) / 60) < args.minutes:
        set_rate(made, rate(minutes / args.minutes, step, args.warmup, args.decay))
        loss = v_loss(model, *corpus.batch(args.batch, dropout=0.12), generator=corpus.generator)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in made:
            optimizer.step()
            optimizer.zero_grad()
        ema.update(model, step)
        step, total, count = step + 1, total + float(loss.detach()), count + 1
        entry: dict[str, float] = {}
        if minutes - saved >= args.save_every:
            saved = minutes
            save_state(run, model, ema, made, step, minutes)
            with ema.applied(model):
                entry["held_out"] = round(held_out_loss(model, held), 4)
        if args.vae and minutes - sheet >= args.sheet_every:
            sheet = minutes
            with ema.applied(model):
                sample_sheet(model, Path(args.vae), run / f"sheet-{int(minutes):03d}.png")
        if entry or step % 50 == 0:
            entry |= {"step": step, "minutes": round(minutes, 2), "loss": round(total / count, 4)}
            total, count = 0.0, 0
            _log(run, entry)
    save_state(run, model, ema, made, step, minutes)
    with ema.applied(model):
        _log(run, {"step": step, "minutes": round(minutes, 2), "final_held_out": round(held_out_loss(model, held), 4)})
        if args.vae:
            sample_sheet(model, Path(args.vae), run / "sheet-final.png")


def load_export(model: Denoiser, folder: Path) -> None:
    """Start from the networks of an exported model folder."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    model.unet.load_state_dict(unet.state_dict())
    model.text.load_state_dict(text.state_dict())


def _log(run: Path, entry: dict[str, float]) -> None:
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps(entry) + "\n")


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
    line.add_argument("--batch", type=int, default=48)
    line.add_argument("--widths", type=int, nargs="+", default=[160, 256])
    line.add_argument("--layers", type=int, default=1)
    line.add_argument("--warmup", type=int, default=100)
    line.add_argument("--decay", type=float, default=0.2)
    line.add_argument("--ema", type=float, default=0.998)
    line.add_argument("--threads", type=int, default=2)
    line.add_argument("--save-every", type=float, default=5.0)
    line.add_argument("--sheet-every", type=float, default=10.0)
    line.add_argument("--seed", type=int, default=0)
    return line


if __name__ == "__main__":
    train(parser().parse_args())
