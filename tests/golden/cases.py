"""The table of golden cases: small edits of every kind, on four models, through public names alone.

A case is named `model/name`. What every case gave is recorded beside this file, see `recording`. Two kinds of names
say that a case depends on a rule of rounding: `half-*` has a ratio times steps that ends in a half, `off-grid-*` a
picture that does not fill the model's canvas. The presets are recorded as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

import wordbrush as wb
from tests.support import tiny, toy

__all__ = ["CASES", "Case", "editor_of"]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ModelName = Literal["toy", "sd1", "sd2", "pocket"]
Run = Callable[[wb.Editor], list[wb.EditResult]]


@dataclass(frozen=True)
class Case:
    """One or several edits.

    Attributes:
        name: `model/name`.
        model: which model.
        run: makes the edits with an editor of that model.
        batch_limit: most rows in one network call of the editor.
    """

    name: str
    model: ModelName
    run: Run
    batch_limit: int | None = None


@cache
def editor_of(model: ModelName, batch_limit: int | None = None) -> wb.Editor:
    """Return an editor of the model, on the CPU, one for all cases."""
    if model == "toy":
        return toy.editor(32, batch_limit=batch_limit)
    if model == "pocket":
        return wb.Editor.from_pretrained("pocket", device="cpu", batch_limit=batch_limit)
    return wb.Editor.from_pretrained(tiny.pipeline(model), batch_limit=batch_limit)


def scene(width: int, height: int) -> Image.Image:
    """Return a picture with a slope and a sharp disc, computed in whole numbers."""
    y, x = np.mgrid[0:height, 0:width]
    disc = (2 * x - width) ** 2 + (2 * y - height) ** 2 < (min(width, height) * 2 // 3) ** 2
    slope = np.stack([40 + 180 * x // width, 30 + 200 * y // height, 230 - 100 * (x + y) // (width + height)], -1)
    return Image.fromarray(np.where(disc[..., None], 255 - slope, slope).astype(np.uint8))


def see_through(image: Image.Image) -> Image.Image:
    """Return the picture with an alpha channel that falls from left to right."""
    alpha = np.linspace(255, 40, image.width).astype(np.uint8)
    return Image.fromarray(np.dstack([np.asarray(image), np.tile(alpha, (image.height, 1))]))


def box(width: int, height: int) -> wb.Mask:
    """Return a mask of the middle, wider than high."""
    values = np.zeros((height, width), np.float32)
    values[height // 4 : height * 5 // 8, width // 4 : width * 7 // 8] = 1
    return wb.Mask.from_array(values)


def grey(width: int, height: int) -> wb.Mask:
    """Return a mask that grows from 0 at the left to 1 at the right."""
    return wb.Mask.from_array(np.tile(np.arange(width, dtype=np.float32) / np.float32(width - 1), (height, 1)))


def listed(made: Any) -> list[wb.EditResult]:
    """Return the results of a call as a list, be it one or several."""
    return made if isinstance(made, list) else [made]


@dataclass(frozen=True)
class World:
    """What the cases of a model share: a picture, its texts and switches that make an edit quick."""

    model: ModelName
    picture: Any
    texts: tuple[str, str]
    others: tuple[str, ...]
    switches: dict[str, Any]

    def edit(self, name: str, **keywords: Any) -> Case:
        """Return a case of one call of `Editor.edit`; keywords take the place of what the world has."""
        asked: dict[str, Any] = {"picture": self.picture, "query": self.texts[0], "reference": self.texts[1]}
        asked |= {**self.switches, **keywords}

        return self.case(name, lambda editor: listed(editor.edit(**asked)))

    def preset(self, name: str, **keywords: Any) -> Case:
        """Return a case of a preset as it is."""
        return replace(self, switches={}).edit(f"preset-{name}", preset=name, **keywords)

    def session(self, name: str, *edits: dict[str, Any]) -> Case:
        """Return a case of several edits in one session; each adds to the world's switches."""

        def run(editor: wb.Editor) -> list[wb.EditResult]:
            opened = editor.open(self.picture, resolution=self.switches.get("resolution"))
            asked = [{"query": self.texts[0], "reference": self.texts[1], **self.switches, **more} for more in edits]
            return [result for keywords in asked for result in listed(opened.edit(**keywords))]

        return self.case(name, run)

    def case(self, name: str, run: Run, batch_limit: int | None = None) -> Case:
        """Return a case of this world's model."""
        return Case(f"{self.model}/{name}", self.model, run, batch_limit)


PLAIN: dict[str, Any] = {
    "strength": 0.6, "strength_axis": "time", "threshold": 0.24,
    "edges": "guided", "ring": 0.0, "ring_until": 0.3, "rim": 0.0, "blend": 0.0, "match": 0.0,
    "solver": "ddim", "spacing": "model", "ratio_axis": "grid", "inversion_stride": 1, "guidance_low": 0.0,
    "guidance_every": 1,
}  # fmt: skip
"""The default before masks, seams and walks were chosen anew, so that recordings of then hold; what came after has
cases of its own."""

TOY = World(
    "toy",
    scene(32, 32),
    ("dark left, light right", "light left"),
    ("light left, dark right", "dark left"),
    {**PLAIN, "maps": 4, "steps": 10, "ratio": 0.8, "guidance": 1.25},
)
SD1 = World(
    "sd1",
    scene(32, 32),
    ("a red car on grass", "a dog on grass"),
    ("a blue cat", "snow on grass"),
    {**PLAIN, "maps": 4, "steps": 5, "ratio": 0.8, "threshold": 0.5, "resolution": 32},
)
SD2 = World("sd2", scene(48, 32), SD1.texts, SD1.others, {**SD1.switches, "resolution": 40})
POCKET = World(
    "pocket",
    EXAMPLES / "horse.png",
    ("a zebra on grass", "a horse on grass"),
    ("a cow on grass", "a horse on snow"),
    {**PLAIN, "maps": 4, "steps": 6, "ratio": 0.7},
)
SMALL = replace(POCKET, switches={**POCKET.switches, "resolution": 64})
FOX = replace(SMALL, picture=EXAMPLES / "fox.png", texts=("a penguin on snow", "a fox on snow"))

SINGLE: dict[str, dict[str, Any]] = {
    "plain": {},
    "dpm2m": {"solver": "dpm2m"},
    "fixed-point": {"fixed_point": 2},
    "even": {"spacing": "even"},
    "strides": {"spacing": "even", "inversion_stride": 3},
    "strides-dpm2m": {"solver": "dpm2m", "inversion_stride": 2},
    "guidance-interval": {"guidance": 1.5, "guidance_low": 0.25, "guidance_high": 0.7},
    "guidance-every": {"guidance": 1.5, "guidance_every": 3},
    "label-source": {"inversion_label": "source"},
    "inversion-reference": {"inversion_text": "reference"},
    "inversion-guided": {"inversion_text": "reference", "inversion_guidance": 3.0},
    "inversion-guided-empty": {"inversion_guidance": 3.0},
    "strength": {"strength": 0.35},
    "strengths": {"strength": (0.5, 0.6, 0.7)},
    "strengths-far": {"strength": (0.5, 0.7, 0.9), "maps": 2},
    "axis-snr": {"strength_axis": "snr", "ratio_axis": "snr", "spacing": "even"},
    "edges-regions": {"edges": "regions"},
    "edges-contour": {"edges": "contour"},
    "seam": {"edges": "regions", "rim": 3.0, "blend": 2.0, "match": 1.5},
    "ring": {"ring": 1.5, "ring_until": 0.4, "match": 2.0},
    "axis-grid": {"strength_axis": "grid", "strength": (0.5, 0.6, 0.7), "steps": 10},
    "antithetic": {"antithetic": True},
    "signed": {"sign": "signed"},
    "norm-l2": {"norm": "l2"},
    "rescale-iqr": {"rescale": "iqr", "maps": 1},
    "rescale-minmax": {"rescale": "minmax"},
    "rescale-ratio": {"rescale": "ratio", "threshold": 0.42},
    "clip": {"clip": 8.0},
    "rule-otsu": {"rule": "otsu", "threshold": None},
    "rule-quantile": {"rule": "quantile", "threshold": 0.6},
    "rule-area": {"rule": "area", "threshold": 0.3},
    "rule-ratio": {"rule": "ratio", "threshold": 1.2},
    "holes": {"fill_holes": True, "edges": "cells"},
    "specks": {"drop_specks": 4, "threshold": 0.7},
    "holes-specks-grown": {"fill_holes": True, "drop_specks": 4, "grow": 1, "threshold": 0.7, "edges": "cells"},
    "grown": {"grow": 1},
    "shrunk": {"grow": -1},
    "edges-smooth": {"edges": "smooth"},
    "edges-cells": {"edges": "cells", "drop_specks": 4},
    "inverted": {"invert": True},
    "inverted-cells": {"invert": True, "edges": "cells"},
    "feather": {"feather": 2.5},
    "feather-cells": {"feather": 2.0, "edges": "cells"},
    "eta": {"eta": 0.7, "seed": [0, 1, 2]},
    "contrast-seed": {"contrast_seed": 7, "seed": 3},
    "seed": {"seed": 11},
    "guidance-1": {"guidance": 1.0},
    "guidance-high": {"guidance": 1.75, "solver": "dpm2m"},
    "ratio-0": {"ratio": 0.0},
    "ratio-1": {"ratio": 1.0},
    "grey-strength": {"mask": grey(32, 32), "soft": "strength"},
    "grey-strength-dpm2m": {"mask": grey(32, 32), "soft": "strength", "solver": "dpm2m"},
    "grey-blend": {"mask": grey(32, 32), "soft": "blend"},
    "user-mask": {"mask": box(24, 40)},
    "user-cells": {"mask": box(16, 16)},
    "include-exclude": {"include": box(32, 32), "exclude": ~grey(20, 10).binarise(), "feather": 1.5},
    "mask-exclude": {"mask": box(32, 32), "exclude": grey(32, 32).binarise(0.7), "edges": "cells"},
    "check-inversion": {"check_inversion": True, "seed": [0, 1]},
    "check-inversion-guided": {"check_inversion": True, "inversion_guidance": 2.0, "inversion_text": "reference"},
    "alpha-channel": {"picture": see_through(scene(32, 32))},
    "grey-picture": {"picture": scene(32, 32).convert("L")},
    "wide": {"picture": scene(48, 24)},
}
"""One call each, for the toy and for sd1."""


def alike(world: World) -> Iterator[Case]:
    """Yield what the toy and sd1 have alike."""
    yield from (world.edit(name, **keywords) for name, keywords in SINGLE.items())
    query, reference = world.texts
    yield world.edit("negative", negative=world.others[0])
    yield world.edit("same-texts", query=reference)
    yield world.edit("no-reference", query=world.others[1], reference="")
    yield world.edit("queries-seeds", query=[query, *world.others], seed=[0, 5], eta=0.3)
    yield from walks(world)
    yield batch("batch", world, (32, 32), (48, 24))
    yield batch("batch-chunked", world, (32, 32), (48, 24), batch_limit=3)
    yield world.edit("half-12", steps=25, ratio=0.5)
    yield world.edit("half-2", steps=5, ratio=0.5)
    yield world.edit("half-axis-grid", steps=5, strength_axis="grid", strength=0.5)


def walks(world: World) -> Iterator[Case]:
    """Yield edits that take from their session what the edit before left there."""
    third = {"query": world.others[0]}
    otsu = {**third, "rule": "otsu", "threshold": None}
    yield world.session("session-threshold", {}, {"threshold": 0.7}, third, otsu)
    deeper = ({"steps": 10, "ratio": ratio} for ratio in (0.4, 0.8, 0.6))
    yield world.session("session-deeper", *deeper)
    again = ({"steps": 10, "ratio": ratio, "solver": "dpm2m"} for ratio in (0.4, 0.8))
    yield world.session("session-deeper-dpm2m", *again)
    seeds = {"seed": [1, 2], "query": list(world.texts)}
    yield world.session("session-seeds", {"seed": 1}, seeds, {"mask": box(32, 32)}, {"inversion_text": "reference"})
    query, reference = world.texts

    def own_contrast(editor: wb.Editor) -> list[wb.EditResult]:
        opened = editor.open(world.picture, resolution=world.switches.get("resolution"))
        found = opened.contrast(query, reference, **world.switches).threshold(0.4).grow(1)
        return [opened.edit(query, reference, mask=found, **world.switches)]

    yield world.case("session-own-mask", own_contrast)


def batch(
    name: str, world: World, size: tuple[int, int], other: tuple[int, int], batch_limit: int | None = None
) -> Case:
    """Return a case of unlike pictures, texts, masks and settings in one call."""
    query, reference = world.texts
    common = wb.Settings.from_preset("fast", **world.switches | {"solver": "ddim"})

    def run(editor: wb.Editor) -> list[wb.EditResult]:
        shared, wide = scene(*size), scene(*other)
        requests = [
            wb.EditRequest(picture=shared, query=query, reference=reference),
            wb.EditRequest(picture=shared, query=world.others[0], reference=reference, seed=4),
            wb.EditRequest(picture=wide, query=query, reference=reference, settings=common.changed(eta=0.5)),
            wb.EditRequest(picture=scene(*size), query=world.others[1], mask=box(32, 32)),
            wb.EditRequest(picture=shared, query=world.others[1], settings=common.changed(solver="dpm2m")),
            wb.EditRequest(picture=wide, query=query, reference=reference, settings=common.changed(ratio=0.0)),
        ]
        return editor.edit_batch(requests, settings=common)

    return world.case(name, run, batch_limit)


def of_toy() -> Iterator[Case]:
    """Yield the cases of the toy; its grid is one pixel, so no size is off it."""
    halves = {"query": "dark left", "reference": "light left"}  # the texts of the rest are too near for `diffusers`
    yield from (TOY.preset(name, **halves) for name in wb.PRESETS)
    yield from alike(TOY)
    yield TOY.edit("half-22", steps=25, ratio=0.9)
    yield TOY.edit("odd-size", picture=scene(37, 23))
    yield TOY.edit("resampled", picture=scene(75, 50))


def of_sd1() -> Iterator[Case]:
    """Yield the cases of the tiny Stable Diffusion 1."""
    yield from (SD1.preset(name, resolution=32) for name in ("balanced", "fast"))
    yield from alike(SD1)
    yield SD1.edit("clip-skip", clip_skip=1)
    yield SD1.edit("off-grid-odd", picture=scene(37, 25))
    yield SD1.edit("off-grid-odd-cells", picture=scene(37, 25), edges="cells", mask=box(37, 25))
    yield SD1.edit("off-grid-resampled", picture=scene(75, 49), feather=1.5)


def of_sd2() -> Iterator[Case]:
    """Yield the cases of the tiny Stable Diffusion 2: another parametrisation of the same algorithm."""
    yield SD2.preset("balanced", resolution=40)
    yield SD2.preset("fast", resolution=40)
    names = ("plain", "dpm2m", "fixed-point", "label-source", "inversion-guided", "strengths", "eta", "grey-strength")
    yield from (SD2.edit(name, **SINGLE[name]) for name in names)
    yield SD2.edit("negative", negative="snow on grass")
    yield SD2.edit("clip-skip", clip_skip=2)
    yield from list(walks(SD2))[:2]
    yield SD2.edit("off-grid-odd", picture=scene(45, 31))


def of_pocket() -> Iterator[Case]:
    """Yield the cases of the model that ships with the package."""
    yield from (POCKET.preset(name) for name in ("balanced", "fast"))
    yield from (SMALL.preset(name, resolution=64) for name in ("paper", "diffusers"))
    yield POCKET.edit("plain")
    car = {"picture": EXAMPLES / "car.png", "query": "a blue car on a road", "reference": "a red car on a road"}
    yield POCKET.edit("dpm2m", solver="dpm2m", **car)
    wide = {"picture": scene(160, 96), "query": "a ball on grass", "reference": ""}
    yield POCKET.edit("wide", rule="otsu", threshold=None, **wide)
    names = ("rescale-iqr", "inversion-guided", "strengths", "grey-strength", "grey-blend", "inverted", "eta")
    yield from (FOX.edit(name, **SINGLE[name]) for name in names)
    yield FOX.edit("holes", fill_holes=True, threshold=0.3)
    yield FOX.edit("negative", negative="a dog", edges="smooth", guidance=6.0)
    yield FOX.edit("clip-skip", clip_skip=1, edges="cells")
    yield FOX.edit("alpha-channel", picture=see_through(Image.open(EXAMPLES / "fox.png").convert("RGB")))
    yield FOX.edit("queries-seeds", query=["a penguin on snow", "a fox on sand"], seed=[0, 1])
    yield FOX.edit("check-inversion", check_inversion=True)
    yield from walks(SMALL)
    yield batch("batch", SMALL, (64, 64), (128, 32))
    yield POCKET.edit("off-grid-odd", picture=scene(131, 101))


CASES: dict[str, Case] = {
    case.name: case for cases in (of_toy, of_sd1, of_sd2, of_pocket) for case in cases()
}  # fmt: skip
"""Every case by its name."""
