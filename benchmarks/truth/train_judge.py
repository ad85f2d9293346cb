"""Trains the judge on rendered scenes: ``python -m benchmarks.truth.train_judge --work FOLDER``.

The pictures are drawn once into the folder of `--cache`; the result is written to `benchmarks/truth/judge`. What it
reaches is measured on scenes of the held-out stream, as they are and as the pocket autoencoder returns them.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.pocket.artwork import FluentArtwork, fetch
from training.pocket.optim import optimizers, set_rate
from training.pocket.words import COLOURS, GROUNDS, NOUNS, RECOLOURABLE
from wordbrush.evaluation.items import SLOTS
from wordbrush.evaluation.judge import JudgeConfig, JudgeNetwork
from wordbrush.evaluation.kept import keep_network

from .lessons import Lessons, batches, draw

BATCH = 64
RATE = 4e-3


def loss_of(network: JudgeNetwork, pictures: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the heads' cross-entropies, the nouns' counted twice."""
    nouns, colours, grounds, times = network(pictures.to(memory_format=torch.channels_last))
    count = len(SLOTS)
    loss = 2 * F.cross_entropy(nouns.float().flatten(0, 1), labels[:, :count].flatten())
    loss = loss + F.cross_entropy(colours.float().flatten(0, 1), labels[:, count : 2 * count].flatten())
    loss = loss + 0.5 * F.cross_entropy(grounds.float(), labels[:, -2])
    return loss + 0.5 * F.cross_entropy(times.float(), labels[:, -1])


def train(lessons: Lessons, config: JudgeConfig, steps: int, seed: int = 0) -> JudgeNetwork:
    """Train for `steps` batches of `BATCH`, the rate rising at first and then falling to nothing."""
    torch.manual_seed(seed)
    network = JudgeNetwork(config)
    optimizer_list = optimizers([network], "muon", RATE, decay=0.05)
    began = time.perf_counter()
    for step, (pictures, labels) in zip(range(steps), batches(lessons, BATCH, seed), strict=False):
        set_rate(optimizer_list, min(1.0, (step + 1) / 50) * (1.0 - step / steps))
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(network, pictures, labels)
        for optimizer in optimizer_list:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        for optimizer in optimizer_list:
            optimizer.step()
        if step % 50 == 49:
            minutes = (time.perf_counter() - began) / 60
            print(f"step {step + 1}/{steps}  loss {float(loss):.3f}  {minutes:.1f} min", file=sys.stderr, flush=True)
    network.eval()
    return network


def save_judge(network: JudgeNetwork, folder: Path) -> None:
    """Write `config.json` and the weights in half precision."""
    keep_network(network, network.config.to_json(), folder, "judge")


def main() -> None:
    """Draw, train, write."""
    line = argparse.ArgumentParser(prog="python -m benchmarks.truth.train_judge", description=__doc__)
    line.add_argument("--work", type=Path, required=True, help="folder of the artwork, fetched if it is not there")
    line.add_argument("--cache", type=Path, help="folder to keep the drawn pictures in")
    line.add_argument("--out", type=Path, default=Path(__file__).parent / "judge")
    line.add_argument("--scenes", type=int, default=7000)
    line.add_argument("--steps", type=int, default=1200)
    args = line.parse_args()
    torch.set_num_threads(1)
    config = JudgeConfig(nouns=NOUNS, coloured=RECOLOURABLE, colours=COLOURS, grounds=GROUNDS)
    lessons = draw(args.scenes, "train", config, FluentArtwork(fetch(args.work)), args.cache)
    save_judge(train(lessons, config, args.steps), args.out)


if __name__ == "__main__":
    main()
