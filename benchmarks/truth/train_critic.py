"""Trains the critic on renders, clean and spoiled by code: ``python -m benchmarks.truth.train_critic --work FOLDER``.

`--early` names folders of earlier checkpoints of the pocket model (`git archive COMMIT src/wordbrush/models/pocket`),
their autoencoder replaced by the shipped one; their drawings in few steps are spoiled pictures too. What is slow to
make is kept in the folder of `--cache`. The result is written to `benchmarks/truth/critic`, with a threshold that 97 %
of clean held-out pictures pass.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.pocket.artwork import FluentArtwork, fetch
from training.pocket.optim import optimizers, set_rate
from training.pocket.pictures import draw, open_pictures
from wordbrush import Editor
from wordbrush.evaluation.critic import Critic, CriticConfig, CriticNetwork
from wordbrush.evaluation.kept import keep_network

from .critic_cases import Cases, draw_cases
from .critic_early import draw_early
from .critic_lessons import UNKNOWN, Lessons, batches, clean, early_pool, returned_spoils

BATCH: Final = 48
RATE: Final = 3e-3
PASSING: Final = 0.97
"""Share of clean held-out pictures that the threshold lets pass."""
HELD_OUT: Final = 540
"""Held-out cases: the first half for the threshold, the others for `check_critic`."""
RETURNED: Final = 240
"""Spoiled pictures that go through the autoencoder as a whole."""
EARLY: Final = 96
"""Drawings of each earlier checkpoint."""


def loss_of(network: CriticNetwork, pictures: Tensor, patches: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of patches, twice, and of pictures; what is unknown does not count."""
    found, whole = network(pictures.to(memory_format=torch.channels_last))
    known, told = patches != UNKNOWN, labels != UNKNOWN
    of_patches = F.binary_cross_entropy_with_logits(found[known], patches[known].float())
    of_pictures = F.binary_cross_entropy_with_logits(whole[told], labels[told].float())
    return 2 * of_patches + of_pictures


def train(lessons: Lessons, network: CriticNetwork, minutes: float, steps: int, seed: int = 0) -> None:
    """Train for `steps` batches or `minutes`, whichever ends first; the rate rises at first and falls to nothing."""
    network.train()
    optimizer_list = optimizers([network], "muon", RATE, decay=0.05)
    began = time.process_time()
    for step, batch in zip(range(steps), batches(lessons, BATCH, seed), strict=False):
        spent = (time.process_time() - began) / 60
        done = max(step / steps, spent / minutes)
        if done >= 1:
            break
        set_rate(optimizer_list, min(1.0, (step + 1) / 50) * (1.0 - done))
        loss = loss_of(network, *batch)
        for optimizer in optimizer_list:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        for optimizer in optimizer_list:
            optimizer.step()
        if step % 25 == 24:
            print(f"step {step + 1}  loss {float(loss.detach()):.3f}  {spent:.1f} min", file=sys.stderr, flush=True)
    network.eval()


def threshold(critic: Critic, cases: Cases, count: int = 1500) -> float:
    """Return the score that `PASSING` of clean pictures of the first half of held-out cases stay below."""
    rng = np.random.default_rng(1)
    pictures = [clean(cases, number % (len(cases) // 2), rng) for number in range(count)]
    return float(np.quantile([found.score for found in critic.look(pictures)], PASSING))


def save_critic(network: CriticNetwork, folder: Path) -> None:
    """Write `config.json` and the weights in half precision."""
    keep_network(network, network.config.to_json(), folder, "critic")


def main() -> None:
    """Draw, train, choose the threshold, write."""
    line = argparse.ArgumentParser(
        prog="python -m benchmarks.truth.train_critic", description=(__doc__ or "").split("\n")[0]
    )
    line.add_argument("--work", type=Path, required=True, help="folder of the artwork, fetched if it is not there")
    line.add_argument("--renders", type=Path, help="pictures.npy of the autoencoder's training, else drawn")
    line.add_argument("--early", type=Path, nargs="*", default=[], help="folders of earlier checkpoints")
    line.add_argument("--cache", type=Path, help="folder to keep cases and drawings in")
    line.add_argument("--out", type=Path, default=Path(__file__).parent / "critic")
    line.add_argument("--cases", type=int, default=1000)
    line.add_argument("--returned", type=int, default=400, help="cases that go through the autoencoder")
    line.add_argument("--resume", type=Path, help="folder of a critic to go on from")
    line.add_argument("--seed", type=int, default=0)
    line.add_argument("--steps", type=int, default=1500)
    line.add_argument("--minutes", type=float, default=15.0, help="at most so many minutes of the processor")
    args = line.parse_args()
    torch.set_num_threads(1)
    artwork, codec = FluentArtwork(fetch(args.work)), Editor.from_pretrained("pocket").driver.codec
    cases = draw_cases(args.cases, args.returned, "train", artwork, codec, args.cache)
    held_out = draw_cases(HELD_OUT, HELD_OUT, "heldout", artwork, codec, args.cache)
    renders = args.renders or args.work / "run" / "pictures.npy"
    draw(renders.parent, renders.stem, "train", 10_000, artwork)
    pools = [(returned_spoils(cases, RETURNED, codec, seed=2), 4)]
    if args.early:
        pools.append((early_pool(draw_early(args.early, EARLY, "train", args.cache)), 5))
    lessons = Lessons(cases, open_pictures(renders)[0], tuple(pools))
    torch.manual_seed(args.seed)
    network = Critic.load(args.resume).network if args.resume else CriticNetwork(CriticConfig())
    train(lessons, network, args.minutes, args.steps, args.seed)
    network.config = replace(network.config, threshold=threshold(Critic(network), held_out))
    save_critic(network, args.out)


if __name__ == "__main__":
    main()
