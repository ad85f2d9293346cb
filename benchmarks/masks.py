"""How well the mask finds what must change: raw contrasts are saved once, then outlines and cuts are compared offline.

    python -m benchmarks.masks save raw.npz [--model pocket] [--split dev] [--limit N]
    python -m benchmarks.masks compare raw.npz      # levels, noises, outlines and cuts against the guided outline
    python -m benchmarks.masks fit raw.npz          # the weights of `outline.regional`, learned again

`save` keeps the differences of the noise estimates of every level and noise; all else runs no network. The headline is
the mean over six kinds of each kind's mean IoU; additions, whose place is drawn at random, stand apart. Differences are
paired, with Student's 95 % interval over the kinds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wordbrush import Editor
from wordbrush.diffusion.contrast import differences, draw
from wordbrush.diffusion.position import contrast_levels
from wordbrush.evaluation.intervals import interval_over
from wordbrush.evaluation.items import KINDS, TruthItem
from wordbrush.evaluation.metrics import best_iou, iou
from wordbrush.evaluation.truth import default_bench, load_truth
from wordbrush.region.outline import OUTLINES, parts
from wordbrush.region.threshold import Contrast, rescale
from wordbrush.settings import RULES as THRESHOLDS
from wordbrush.settings import Settings

Float = NDArray[np.float64]

LEVELS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
NOISES = 4
STRENGTHS, MAPS, CUT = Settings().strength, Settings().maps, THRESHOLDS["fixed"].default
SIX = tuple(kind for kind in KINDS if kind != "addition")
CELL = 8
"""Pixels of a latent cell of the pocket model."""
SAMPLED = 300
"""Pixels of an item that `fit` looks at; of an addition a third, as its place is drawn at random."""


def save(path: Path, model: str, split: Any, limit: int | None) -> None:
    """Run the network, and keep `eps(query) - eps(reference)`, (item, level, noise, channel, row, column)."""
    editor, settings, found = Editor.from_pretrained(model), Settings(), []
    items = load_truth(default_bench(), split, limit=limit)
    for item in items:
        session = editor.open(item.picture)
        schedule = editor.model.schedule_for(session.latent_size, settings.steps)
        z0, (reference, query) = session.latent(), item.texts["captions"]
        one, other = (session.prompt(text, settings).conditioning for text in (query, reference))
        draws = [[draw(0, index, z0.shape[1:]) for index in range(NOISES)]] * len(LEVELS)
        levels = contrast_levels(schedule, LEVELS, "snr", settings.steps)
        found.append(torch.stack(session.run(differences(z0, levels, one, other, draws))).half().numpy())
    np.savez(path, differences=np.stack(found), split=split, limit=limit or 0)


class Raw:
    """Saved contrasts with their items."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.sizes = np.abs(file["differences"].astype(np.float32)).mean(axis=3)
            self.items = load_truth(default_bench(), str(file["split"]), limit=int(file["limit"]) or None)  # type: ignore[arg-type]
        self.kinds = np.array([item.kind for item in self.items])

    def maps(
        self, levels: Sequence[float] = STRENGTHS, noises: int = MAPS, *, shared: bool = False
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the rescaled map of each item, pooled as `diffusion.contrast.pooled` does.

        Each level has noises of its own (they come round again where no more were saved), unless all share the first.
        """
        saved, stride = self.sizes.shape[2], 0 if shared else noises
        taken = [[(number * stride + index) % saved for index in range(noises)] for number in range(len(levels))]
        pairs = zip(map(LEVELS.index, levels), taken, strict=True)
        chosen = np.stack([self.sizes[:, level, some].mean(axis=1) for level, some in pairs], axis=1)
        for one in chosen:
            yield rescale(one.mean(axis=0))

    def laid(self, how: str, **keywords: Any) -> list[NDArray[np.float32]]:
        """Return the outline map of each item at the picture's size."""
        return [OUTLINES[how](cells, item.picture, radius=CELL) for cells, item in self.each(**keywords)]

    def each(self, **keywords: Any) -> Iterator[tuple[NDArray[np.float32], TruthItem]]:
        """Yield the map of each item with the item; keywords as for `maps`."""
        yield from zip(self.maps(**keywords), self.items, strict=True)

    def scored(self, masks: Sequence[NDArray[np.bool_]]) -> Float:
        """Return the IoU of one mask an item with the true region."""
        return np.array([iou(mask, item.region) for mask, item in zip(masks, self.items, strict=True)])

    def line(self, name: str, values: Float, base: Float) -> str:
        """Return a row of the table: IoU over six kinds, its paired difference, and each kind."""
        change = interval_over({kind: (values - base)[self.kinds == kind] for kind in SIX})
        means = {kind: values[self.kinds == kind].mean() for kind in KINDS}
        cells = [name, f"{np.mean([means[kind] for kind in SIX]):.3f}"]
        cells += [f"{change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]", *(f"{means[k]:.3f}" for k in KINDS)]
        return "| " + " | ".join(cells) + " |"


def compare(raw: Raw) -> Iterator[str]:
    """Yield the table, a row at a time."""
    yield f"n = {len(raw.items)}, {int((raw.kinds == 'object').sum())} a kind"
    yield "| mask | six kinds | paired | " + " | ".join(KINDS) + " |"
    yield "|" + "---|" * (len(KINDS) + 3)
    guided, regions = raw.laid("guided"), raw.laid("regions")
    base = raw.scored([one > CUT for one in guided])
    yield raw.line(f"guided, {' '.join(map(str, STRENGTHS))}, {MAPS} of its own, cut {CUT:g}", base, base)
    for cut in (0.2, 0.22, 0.26, 0.3, 0.35):
        yield raw.line(f"regions, cut {cut:g}", raw.scored([one > cut for one in regions]), base)
    one_level, pairs = ((0.6,), 2), ((STRENGTHS, 1), (STRENGTHS, 2), ((0.5, 0.7, 0.9), 2))
    for (levels, noises), shared in ((one_level, True), *product(pairs, (False, True)), ((LEVELS, 2), True)):
        for how in ("guided", "regions"):
            laid = raw.laid(how, levels=levels, noises=noises, shared=shared)
            draws = f"{noises} {'shared' if shared else 'of its own'}"
            name = f"{how}, {' '.join(f'{level:g}' for level in levels)}, {draws}, cut {CUT:g}"
            yield raw.line(name, raw.scored([one > CUT for one in laid]), base)
    for name, rule in RULES.items():
        yield raw.line(f"regions, {name}", raw.scored([one > rule(one) for one in regions]), base)
    best = np.array([best_iou(one, item.region)[0] for one, item in zip(regions, raw.items, strict=True)])
    yield raw.line("regions, best cut of each picture", best, base)


def _otsu(laid: NDArray[np.float32]) -> float:
    root = np.sqrt(laid[::2, ::2])
    return float(Contrast(root, root).cut(rule="otsu")[1]) ** 2


def _stable(laid: NDArray[np.float32], prior: float) -> float:
    """The cut at which the area changes least, drawn towards the default's."""
    cuts = np.arange(0.08, 0.5, 0.02)
    area = np.array([(laid > cut).mean() for cut in cuts])
    change = np.convolve(np.pad(np.abs(np.gradient(np.log(area + 0.01))), 1, "edge"), np.ones(3) / 3, "valid")
    cost = change + prior * np.log(cuts / CUT) ** 2 + 9.0 * ((area < 0.02) | (area > 0.95))
    return float(cuts[np.argmin(cost)])


RULES: Mapping[str, Callable[[NDArray[np.float32]], float]] = {
    "Otsu on the root": _otsu,
    "a fifth of Otsu on the root": lambda laid: 0.176 + 0.2 * _otsu(laid),
    "most stable cut": lambda laid: _stable(laid, 0.0),
    "most stable cut, drawn to the default's": lambda laid: _stable(laid, 0.3),
}


def fit(raw: Raw) -> Iterator[str]:
    """Yield the weights learned on all items, and the IoU of one half's weights on the other half."""
    numbers = np.array([int(item.id.split("/")[-1]) for item in raw.items])
    columns = [np.stack(parts(cells, item.picture, radius=CELL), axis=-1) for cells, item in raw.each()]
    base = raw.scored([one > 0.2 for one in raw.laid("guided")])
    values = np.zeros(len(columns))
    for half in (0, 1):
        weights = _learned(columns, raw, numbers % 2 == half)
        for i in np.flatnonzero(numbers % 2 != half):
            values[i] = iou(columns[i] @ weights[:-1] + weights[-1] > np.sqrt(0.2), raw.items[i].region)
    weights = _learned(columns, raw, np.ones(len(columns), np.bool_))
    yield "guided, smoothed, around, unlike, darker, constant: " + ", ".join(f"{weight:.3f}" for weight in weights)
    yield raw.line("learned on one half, told on the other, cut .2", values, base)


def _learned(columns: list[NDArray[Any]], raw: Raw, chosen: NDArray[np.bool_]) -> Float:
    """Learn the weights by logistic regression: those of maps sum to 1, and a chance of .46 falls on a map of .2."""
    random, rows, truth = np.random.default_rng(0), [], []
    for i in np.flatnonzero(chosen):
        count = SAMPLED // 3 if raw.kinds[i] == "addition" else SAMPLED
        at = random.integers(0, raw.items[i].region.size, count)
        rows.append(columns[i].reshape(-1, columns[i].shape[-1])[at])
        truth.append(raw.items[i].region.ravel()[at])
    x, y = np.concatenate(rows).astype(np.float64), np.concatenate(truth).astype(np.float64)
    x = np.c_[x, np.ones(len(x))]
    weights = np.zeros(x.shape[1])
    for _ in range(12):  # Newton's method
        chance = 1.0 / (1.0 + np.exp(-np.clip(x @ weights, -30.0, 30.0)))
        curvature = (x * (chance * (1.0 - chance))[:, None]).T @ x
        weights -= np.linalg.solve(curvature + 1e-6 * np.eye(len(weights)), x.T @ (chance - y))
    scale = weights[:3].sum()
    weights[-1] -= np.log(0.46 / 0.54)
    return np.append(weights[:-1] / scale, weights[-1] / scale + np.sqrt(0.2))


def main() -> None:
    """Save or study."""
    line = argparse.ArgumentParser(prog="python -m benchmarks.masks", description=__doc__)
    line.add_argument("what", choices=("save", "compare", "fit"))
    line.add_argument("file", type=Path, help="the raw contrasts, .npz")
    line.add_argument("--model", default="pocket")
    line.add_argument("--split", choices=("dev", "test"), default="dev")
    line.add_argument("--limit", type=int, default=None, help="items a kind")
    args = line.parse_args()
    torch.set_num_threads(1)
    if args.what == "save":
        save(args.file, args.model, args.split, args.limit)
        return
    for row in {"compare": compare, "fit": fit}[args.what](Raw(args.file)):
        print(row, flush=True)


if __name__ == "__main__":
    main()
