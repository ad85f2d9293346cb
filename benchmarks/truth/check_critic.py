"""How well the critic tells spoiled pictures from clean ones: ``python -m benchmarks.truth.check_critic``.

Without `--work`, the folder of the artwork, only what the bench's dev split shows: which share is refused of
counterfactuals, and of pictures that are wrong by construction. With it, also fresh held-out renders spoiled by code:
area under the curve and refused share of every fault; `--early` adds drawings of earlier checkpoints. `--drawn N` draws
N captions with the model and tells which share is refused.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest

from training.pocket.artwork import FluentArtwork, fetch
from training.pocket.scenes import caption
from wordbrush import Editor
from wordbrush.evaluation.critic import Critic, Critique
from wordbrush.evaluation.items import KINDS, Bytes, Kind, TruthItem
from wordbrush.evaluation.metrics import roc_auc
from wordbrush.evaluation.truth import default_bench, load_truth
from wordbrush.files import write_atomic

from .check_judge import reconstructions
from .critic_cases import Cases, draw_cases
from .critic_early import draw_early
from .critic_lessons import clean, spoil
from .generation import draw, scenes
from .spoils import FAULTS

if TYPE_CHECKING:
    from wordbrush.models.codec import Codec

HELD_OUT: Final = 540
"""Held-out cases: the first half is for the critic's threshold, the others are for this check."""
PER_FAULT: Final = 240
CLEAN: Final = 720
EARLY: Final = 102
"""Drawings of each earlier checkpoint."""
_RESAMPLES: Final = 1000


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval and the number of pictures."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """Return the figure as the card shows it."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def share(found: Sequence[bool]) -> Figure:
    """Return the share of True with its exact interval (Clopper and Pearson 1934)."""
    ends = binomtest(sum(found), len(found)).proportion_ci(method="exact")
    return Figure(sum(found) / len(found), float(ends.low), float(ends.high), len(found))


def area(spoiled: Sequence[float], good: Sequence[float], seed: int = 0) -> Figure:
    """Return the area under the curve of scores with a bootstrap interval, both sides redrawn; n counts the spoiled."""
    truth = np.arange(len(spoiled) + len(good)) < len(spoiled)
    bad, fine = np.asarray(spoiled), np.asarray(good)
    wins = (bad[:, None] > fine).astype(np.float32) + 0.5 * (bad[:, None] == fine)
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(_RESAMPLES):
        rows, columns = (np.bincount(rng.integers(n, size=n), minlength=n) / n for n in wins.shape)
        drawn.append(rows @ wins @ columns)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Figure(float(roc_auc(np.concatenate([bad, fine]), truth) or 0.0), float(low), float(high), len(bad))


def flat_removal(item: TruthItem) -> Bytes:
    """Return the input with its region filled with one colour: the counterfactual's mean there."""
    made = item.picture.copy()
    made[item.region] = item.counterfactual[item.region].mean(axis=0).round()
    return made


def darkened(item: TruthItem, factor: float = 0.35) -> Bytes:
    """Return the input with its region darkened by a factor."""
    return np.where(item.region[..., None], (item.picture * factor).round().astype(np.uint8), item.picture)


def thinly_old(item: TruthItem, left: float = 0.3) -> Bytes:
    """Return the counterfactual with a share of the old picture left in its region."""
    blend = (1 - left) * item.counterfactual.astype(np.float32) + left * item.picture
    return np.where(item.region[..., None], blend.round().astype(np.uint8), item.picture)


def boxed(item: TruthItem) -> Bytes:
    """Return the counterfactual with a box of any colour, 24 x 32 pixels, wherever the item's number says."""
    rng = np.random.default_rng(list(item.id.encode()))
    top, left = rng.integers(item.picture.shape[0] - 24), rng.integers(item.picture.shape[1] - 32)
    made = item.counterfactual.copy()
    made[top : top + 24, left : left + 32] = rng.integers(256, size=3)
    return made


PROBES: Final[dict[str, tuple[tuple[Kind, ...], Callable[[TruthItem], Bytes]]]] = {
    "removal filled with one colour": (("removal",), flat_removal),
    "day darkened to 35 %": (("time",), darkened),
    "a box of any colour": (("object", "ground", "pair"), boxed),
    **{f"30 % of the old picture left, {kind}": ((kind,), thinly_old) for kind in KINDS},
}
"""What is wrong by construction: the kinds of dev items it is made of, and how."""


def refused(found: Sequence[Critique]) -> Figure:
    """Return the share that is not clean."""
    return share([not critique.clean for critique in found])


def probes(critic: Critic, items: Sequence[TruthItem], codec: Codec) -> dict[str, Figure]:
    """Return the refused share of each probe, of inputs and counterfactuals, and of what the autoencoder returns."""
    figures = {}
    for name, (kinds, make) in PROBES.items():
        figures[name] = refused(critic.look([make(item) for item in items if item.kind in kinds]))
    figures["inputs as they are"] = refused(critic.look([item.picture for item in items]))
    truth = np.stack([item.counterfactual for item in items])
    figures["counterfactuals as they are"] = refused(critic.look(truth))
    figures["counterfactuals, returned by the autoencoder"] = refused(critic.look(reconstructions(codec, truth)))
    return figures


def by_fault(critic: Critic, cases: Cases, early: NDArray[np.uint8] | None) -> dict[str, tuple[Figure, Figure]]:
    """Return area and refused share of every fault against clean pictures of the same cases, and "clean" itself.

    Only pictures whose fault is plain count, as in training.
    """
    rng, half = np.random.default_rng(3), len(cases) // 2
    good = critic.look([clean(cases, half + k % (len(cases) - half), rng) for k in range(CLEAN)])
    calm = [found.score for found in good]
    figures = {"clean": (area(calm, calm), refused(good))}
    sets: dict[str, Sequence[Bytes]] = {} if early is None else {"early": list(early)}
    for name in FAULTS:
        made: list[Bytes] = []
        while len(made) < PER_FAULT:
            spoiled = spoil(name, cases, half + int(rng.integers(len(cases) - half)), rng)
            made += [spoiled.picture] if spoiled.plain else []
        sets[name] = made
    for name, pictures in sets.items():
        found = critic.look(pictures)
        figures[name] = area([critique.score for critique in found], calm), refused(found)
    return figures


def drawings(critic: Critic, model: str, count: int, sheet: Path | None) -> Figure:
    """Return the refused share of the model's own drawings, 25 steps at guidance 4; the sheet sorts them by score."""
    texts = [caption(scene) for scene in scenes(count)]
    drawn = list(draw(Editor.from_pretrained(model, batch_limit=32), texts, 4.0, 25, 0, 16))
    found = critic.look(drawn)
    if sheet is not None:
        order = np.argsort([critique.score for critique in found])
        tiles = [_framed(drawn[k], found[k]) for k in order]
        rows = [np.concatenate(tiles[start : start + 10], axis=1) for start in range(0, count, 10)]
        width = rows[0].shape[1]
        page = np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])
        Image.fromarray(page).save(sheet)
    return refused(found)


def _framed(picture: Bytes, critique: Critique) -> Bytes:
    """Return the picture with a red line above it where it is not clean."""
    made = picture.copy()
    if not critique.clean:
        made[:3] = (220, 20, 20)
    return made


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure and print what is asked for; return it as JSON data."""
    bench = args.bench or default_bench()
    critic = Critic.load(args.critic or bench / "critic")
    report: dict[str, Any] = {"threshold": critic.config.threshold}
    codec = Editor.from_pretrained(args.model).driver.codec
    found = probes(critic, load_truth(bench, "dev"), codec)
    print("| dev pictures | n | refused |\n|---|---|---|")
    print("\n".join(f"| {name} | {figure.n} | {figure} |" for name, figure in found.items()))
    report["probes"] = {name: asdict(figure) for name, figure in found.items()}
    if args.work is not None:
        cases = draw_cases(HELD_OUT, HELD_OUT, "heldout", FluentArtwork(fetch(args.work)), codec, args.cache)
        early = draw_early(args.early, EARLY, "heldout", args.cache) if args.early else None
        faults = by_fault(critic, cases, early)
        print("\n| held-out renders | n | area under the curve | refused |\n|---|---|---|---|")
        print("\n".join(f"| {name} | {a.n} | {a} | {r} |" for name, (a, r) in faults.items()))
        report["faults"] = {name: {"auc": asdict(a), "refused": asdict(r)} for name, (a, r) in faults.items()}
    if args.drawn:
        drawn = drawings(critic, args.model, args.drawn, args.sheet)
        print(f"\ndrawings of {args.model}: {drawn.n}, refused {drawn}")
        report["drawn"] = asdict(drawn)
    return report


def main() -> None:
    """Measure and print."""
    line = argparse.ArgumentParser(
        prog="python -m benchmarks.truth.check_critic", description=(__doc__ or "").split("\n")[0]
    )
    line.add_argument("--work", type=Path, help="folder of the artwork, for fresh renders; fetched if it is not there")
    line.add_argument("--critic", type=Path, help="folder of the critic; the bench's own by default")
    line.add_argument("--bench", type=Path, help="folder of the bench; the repository's by default")
    line.add_argument("--early", type=Path, nargs="*", default=[], help="folders of earlier checkpoints")
    line.add_argument("--cache", type=Path, help="folder to keep cases and drawings in")
    line.add_argument("--model", default="pocket", help="the model whose autoencoder returns pictures, and that draws")
    line.add_argument("--drawn", type=int, default=0, help="captions to draw")
    line.add_argument("--sheet", type=Path, help="PNG of the drawings by score, those refused marked red")
    line.add_argument("--json", type=Path, help="file to write")
    args = line.parse_args()
    report = measure(args)
    if args.json:
        write_atomic(args.json, (json.dumps(report, indent=1) + "\n").encode(), force=True)


if __name__ == "__main__":
    main()
