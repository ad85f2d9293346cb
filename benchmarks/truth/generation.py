"""How often the model draws what a caption says, by the judge, and without a fault, by the critic.

    python -m benchmarks.truth.generation --model pocket --captions 500 --guidance 3 7.5 --steps 20 --json FILE

Captions are the plain ones of held-out scenes, in the natural proportions of one thing, two and none, but at least a
fifth are of two. Caption number k is drawn from its own seeded noise, the same at every guidance. A table goes to
standard output; `--sheet FILE` writes the pictures of the first captions as a PNG, wrong ones framed in red.

What counts as right: a caption of one thing, where exactly one thing is seen and it is the one asked for, wherever it
stands; a caption of two, where the left and the right thing are seen on their own sides. Clean is what the critic
passes, whatever it shows.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from training.pocket.scenes import Scene, caption, sample_scene
from wordbrush.evaluation.items import Bytes, Facts
from wordbrush.evaluation.truth import default_bench
from wordbrush.files import write_atomic

from .facts import facts_of

if TYPE_CHECKING:
    from wordbrush import Editor

FIRST: Final = 20_000_000
"""Number of the first caption's scene in the held-out stream."""
_PAIRS: Final = 5
"""At least one caption in so many is of two things."""
_SHEET_COLUMNS: Final = 12
_RED: Final = (220, 20, 20)


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval."""

    share: float
    low: float
    high: float
    n: int


def wilson(right: int, n: int) -> Share:
    """Return `right / n` with Wilson's score interval (1927), which is sound near 0 and 1 too; z = 1.96."""
    if n == 0:
        return Share(math.nan, 0.0, 1.0, 0)
    z, p = 1.96, right / n
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Share(p, max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale), n)


def scenes(count: int) -> list[Scene]:
    """Return the scenes whose captions are drawn; the first of one thing give way where there are too few pairs."""
    drawn = [sample_scene(FIRST + number, "heldout") for number in range(count)]
    missing = -(-count // _PAIRS) - sum(len(scene.things) == 2 for scene in drawn)
    for number, scene in enumerate(drawn):
        if missing > 0 and len(scene.things) == 1:
            drawn[number] = sample_scene(FIRST + number, "heldout", 2)
            missing -= 1
    return drawn


def draw(editor: Editor, texts: Sequence[str], guidance: float, steps: int, seed: int, batch: int) -> Iterator[Bytes]:
    """Yield a picture (height, width, RGB) for each text, from pure noise, with DDIM."""
    import torch

    from wordbrush.diffusion import noise
    from wordbrush.diffusion.denoiser import Conditioning
    from wordbrush.diffusion.guidance import guided
    from wordbrush.diffusion.solvers import decode

    driver, codec = editor.driver, editor.driver.codec
    side = editor.model.resolution // codec.factor
    levels = editor.model.schedule_for((side, side), steps).grid(steps)
    nothing = driver.prompt("", canvas=(side, side)).conditioning
    for start in range(0, len(texts), batch):
        chunk = texts[start : start + batch]
        shape = (codec.channels, side, side)
        draws = [noise.normal(seed + start + i, "generation", 0, shape) for i in range(len(chunk))]
        queries = Conditioning.concat([driver.prompt(text, canvas=(side, side)).conditioning for text in chunk])
        estimate = guided(queries, Conditioning.concat([nothing] * len(chunk)), guidance)
        with torch.inference_mode():
            x = driver.value(decode(estimate, torch.stack(draws), levels))
            pixels = codec.decode(x).clamp(-1, 1).add(1).mul(127.5).round().byte()
        yield from pixels.permute(0, 2, 3, 1).cpu().numpy()


def judged(expected: Facts, seen: Facts) -> dict[str, bool]:
    """Return whether a picture is right, by the name of each figure that it counts for."""
    figures = {"ground": seen.ground == expected.ground, "time": seen.time == expected.time}
    if len(expected.things) == 1:
        (thing,), things = expected.things.values(), list(seen.things.values())
        noun = len(things) == 1 and things[0].noun == thing.noun
        coloured = noun and thing.colour in (None, things[0].colour)
        figures |= {"one: noun": noun, "one: noun and colour": coloured}
        if thing.colour:
            figures["one: colour, of those that have one"] = coloured
    elif expected.things:
        sides = [(seen.things.get(slot), thing) for slot, thing in expected.things.items()]
        nouns = [mine is not None and mine.noun == its.noun for mine, its in sides]
        colours = [mine is not None and its.colour in (None, mine.colour) for mine, its in sides]
        figures |= {"two: both on their sides": all(nouns), "two: both, and colours": all(nouns) and all(colours)}
        figures["two: either on its side"] = any(nouns)
    else:
        figures["none: empty"] = not seen.things
    return figures


def shares(expected: Sequence[Facts], seen: Sequence[Facts]) -> dict[str, Share]:
    """Return the share of right pictures with its interval, by the name of the figure."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for scene, picture in zip(expected, seen, strict=True):
        for name, held in judged(scene, picture).items():
            right[name] += held
            total[name] += 1
    return {name: wilson(right[name], total[name]) for name in sorted(total)}


def clean_shares(expected: Sequence[Facts], clean: Sequence[bool]) -> dict[str, Share]:
    """Return the share of clean pictures by how many things were asked for."""
    held = {count: [c for e, c in zip(expected, clean, strict=True) if len(e.things) == count] for count in (0, 1, 2)}
    words = {0: "none: clean", 1: "one: clean", 2: "two: clean"}
    return {words[count]: wilson(sum(found), len(found)) for count, found in held.items() if found}


def by_noun(expected: Sequence[Facts], seen: Sequence[Facts]) -> dict[str, dict[str, Any]]:
    """Return, for every noun of the captions, how often it was wrong, and what was seen instead."""
    table: dict[str, dict[str, Any]] = {}
    for scene, picture in zip(expected, seen, strict=True):
        for slot, thing in scene.things.items():
            line = table.setdefault(thing.noun, {"asked": 0, "wrong": 0, "seen instead": Counter()})
            lone = len(scene.things) == 1 and len(picture.things) == 1
            there = next(iter(picture.things.values())) if lone else picture.things.get(slot)
            line["asked"] += 1
            if there is None or there.noun != thing.noun:
                line["wrong"] += 1
                line["seen instead"][there.noun if there else "nothing"] += 1
    worst = sorted(table.items(), key=lambda entry: (-entry[1]["wrong"] / entry[1]["asked"], entry[0]))
    return {noun: {**line, "seen instead": dict(line["seen instead"].most_common())} for noun, line in worst}


def sheet(shown: Sequence[tuple[Bytes, Facts, Facts]]) -> bytes:
    """Return a PNG of pictures in reading order, with a red frame where the facts seen are not those expected."""
    height, width = shown[0][0].shape[:2]
    rows = -(-len(shown) // _SHEET_COLUMNS)
    page = np.full((rows * height, _SHEET_COLUMNS * width, 3), 255, np.uint8)
    for number, (picture, expected, seen) in enumerate(shown):
        top, left = number // _SHEET_COLUMNS * height, number % _SHEET_COLUMNS * width
        cell = page[top : top + height, left : left + width]
        if all(judged(expected, seen).values()):
            cell[:] = picture
        else:
            cell[:] = _RED
            cell[3:-3, 3:-3] = picture[3:-3, 3:-3]
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def table(results: dict[str, dict[str, Share]]) -> str:
    """Return the figures as text, a line a figure and a column a guidance."""
    names = list(dict.fromkeys(name for figures in results.values() for name in figures))
    head = f"{'%':<40}" + "".join(f"{'guidance ' + scale:>24}" for scale in results)
    lines = [head]
    for name in names:
        cells = [figures[name] for figures in results.values()]
        written = [f"{100 * c.share:.1f} [{100 * c.low:.1f}, {100 * c.high:.1f}]" for c in cells]
        lines.append(f"{f'{name} (n = {cells[0].n})':<40}" + "".join(f"{cell:>24}" for cell in written))
    return "\n".join(lines)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Draw, judge, print the table, write the sheet, and return everything that is reported."""
    from wordbrush import Editor
    from wordbrush.evaluation.critic import Critic
    from wordbrush.evaluation.judge import Judge

    editor = Editor.from_pretrained(args.model, dtype=args.dtype, batch_limit=2 * args.batch)
    judge, critic = Judge.load(args.judge or default_bench() / "judge"), Critic.load(default_bench() / "critic")
    captioned = scenes(args.captions)
    expected, texts = [facts_of(scene) for scene in captioned], [caption(scene) for scene in captioned]
    results: dict[str, dict[str, Share]] = {}
    nouns, shown = {}, []
    for scale in args.guidance:
        pictures = []
        for picture in draw(editor, texts, scale, args.steps, args.seed, args.batch):
            pictures.append(picture)
            if len(pictures) % args.batch == 0:
                print(f"guidance {scale:g}: {len(pictures)} of {len(texts)}", file=sys.stderr, flush=True)
        seen = judge.look(pictures)
        clean = clean_shares(expected, [found.clean for found in critic.look(pictures)])
        results[f"{scale:g}"], nouns[f"{scale:g}"] = shares(expected, seen) | clean, by_noun(expected, seen)
        shown += list(zip(pictures, expected, seen, strict=True))[: args.shown]
    if args.sheet:
        write_atomic(args.sheet, sheet(shown), force=True)
    print(table(results))
    settings = {"captions": args.captions, "steps": args.steps, "seed": args.seed}
    figures = {scale: {name: asdict(share) for name, share in row.items()} for scale, row in results.items()}
    return {"model": editor.model.identity.as_dict(), **settings, "guidance": figures, "nouns": nouns}


def main() -> None:
    """Measure, print the table, and write the JSON."""
    line = argparse.ArgumentParser(
        prog="python -m benchmarks.truth.generation", description=(__doc__ or "").split("\n")[0]
    )
    line.add_argument("--model", default="pocket", help="pocket, or a folder in diffusers layout")
    line.add_argument("--dtype", help="of the networks; float32 on a CPU by default, bfloat16 is twice as fast on some")
    line.add_argument("--judge", type=Path, help="folder of the judge; the bench's own by default")
    line.add_argument("--captions", type=int, default=500)
    line.add_argument("--guidance", type=float, nargs="+", default=[3.0, 7.5])
    line.add_argument("--steps", type=int, default=20)
    line.add_argument("--seed", type=int, default=0, help="seed of the first caption's noise; the next have the next")
    line.add_argument("--batch", type=int, default=16, help="captions drawn at a time")
    line.add_argument("--json", type=Path, help="file to write")
    line.add_argument("--sheet", type=Path, help="PNG of the first pictures at each guidance")
    line.add_argument("--shown", type=int, default=48, help="pictures a guidance on the sheet")
    args = line.parse_args()
    report = measure(args)
    if args.json:
        write_atomic(args.json, (json.dumps(report, indent=1) + "\n").encode(), force=True)


if __name__ == "__main__":
    main()
