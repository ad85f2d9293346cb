"""Training of the autoencoder on crops of rendered scenes, and later of its decoder alone on frozen latents."""

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

from .optim import optimizers, set_rate
from .store import load_weights, picture_batches, save_weights, tensor_of, write_sheet

CHANNELS = (24, 48, 96, 128)
LATENT_CHANNELS = 8
LATENT_NOISE = 0.05


def new_vae() -> AutoencoderKL:
    """Return an untrained autoencoder: 128 x 128 x 3 to 16 x 16 x 8."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=128,
        mid_block_add_attention=False,
    )


def picture_loss(made: Tensor, truth: Tensor) -> Tensor:
    """Return L1 + L1 of the gradients + L1 of 4-pixel means; pictures are (batch, channel, row, column) in [-1, 1]."""
    error = made - truth
    along = (error[..., 1:] - error[..., :-1]).abs().mean() + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return error.abs().mean() + along + functional.avg_pool2d(error, 4).abs().mean()


def psnr(vae: AutoencoderKL, pictures: np.ndarray, amp: bool = False) -> tuple[float, Tensor]:
    """Return the mean over pictures of the PSNR in dB of encode-decode, and the decoded pictures."""
    values, made = [], []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=amp):
        for start in range(0, len(pictures), 8):
            truth = tensor_of(pictures[start : start + 8])
            out = vae.decode(vae.encode(truth).latent_dist.mean).sample.float().clamp(-1, 1)
            made.append(out)
            values += (-10 * ((out - truth) / 2).square().mean((1, 2, 3)).log10()).tolist()
    return float(np.mean(values)), torch.cat(made)


def _step(vae: AutoencoderKL, truth: Tensor, frozen: bool) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        with torch.set_grad_enabled(not frozen):
            posterior = vae.encode(truth).latent_dist
        mean = posterior.mean
        noise = LATENT_NOISE * mean.detach().std() * torch.randn_like(mean)
        made = vae.decode(mean + noise).sample
    loss = picture_loss(made.float(), truth)
    return loss if frozen else loss + 1e-6 * posterior.kl().mean()


def train(args: argparse.Namespace) -> None:
    """Train until `args.minutes` have passed; writes weights, a log and sheets into `args.run`."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    run = Path(args.run)
    run.mkdir(parents=True, exist_ok=True)
    pictures = np.load(args.pictures, mmap_mode="r")
    held = np.load(args.heldout, mmap_mode="r")[:48]
    vae = new_vae()
    if args.resume:
        load_weights(vae, Path(args.resume))
    trained: list[nn.Module] = [vae.post_quant_conv, vae.decoder] if args.decoder_only else [vae]
    if args.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    made = optimizers(trained, args.optimizer, args.lr, decay=0.0)
    batches = picture_batches(pictures, args.batch, args.crop, args.seed)
    started, step, shown, total = time.monotonic(), 0, 0, 0.0
    while (share := (time.monotonic() - started) / (60 * args.minutes)) < 1.0:
        set_rate(made, min(1.0, (step + 1) / 100) * max(0.01, 0.5 * (1 + math.cos(math.pi * share))))
        loss = _step(vae, next(batches), args.decoder_only)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        for optimizer in made:
            optimizer.step()
            optimizer.zero_grad()
        step, total = step + 1, total + float(loss.detach())
        if step % 100 == 0:
            entry = {"step": step, "minutes": round(share * args.minutes, 2), "loss": round(total / 100, 4)}
            if share * args.minutes >= shown:
                shown += args.every
                entry["psnr"] = round(psnr(vae, held[:16], amp=True)[0], 2)
                save_weights(vae, run / "vae.safetensors")
            total = 0.0
            with (run / "log.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")
    value, out = psnr(vae, held)
    save_weights(vae, run / "vae.safetensors")
    write_sheet([tensor_of(held[:12]), out[:12], tensor_of(held[12:24]), out[12:24]], run / "sheet.png")
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": step, "final_psnr": round(value, 2)}) + "\n")


def parser() -> argparse.ArgumentParser:
    """Return the command line of this stage."""
    line = argparse.ArgumentParser(prog="python -m training.pocket.train_vae", description=__doc__)
    line.add_argument("--run", required=True)
    line.add_argument("--pictures", required=True)
    line.add_argument("--heldout", required=True)
    line.add_argument("--minutes", type=float, default=25.0)
    line.add_argument("--every", type=float, default=2.0)
    line.add_argument("--optimizer", default="muon")
    line.add_argument("--lr", type=float, default=1.5e-3)
    line.add_argument("--batch", type=int, default=8)
    line.add_argument("--crop", type=int, default=64)
    line.add_argument("--threads", type=int, default=2)
    line.add_argument("--seed", type=int, default=0)
    line.add_argument("--resume", default="")
    line.add_argument("--decoder-only", action="store_true")
    return line


if __name__ == "__main__":
    train(parser().parse_args())
