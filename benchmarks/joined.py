"""How many network calls unlike edits take together: eight that share neither steps, ratio, maps, solver nor texts.

On a device that gains by larger calls the driver joins asks of different edits and levels; here it is told to, so that
the counts can be had on any machine. They carry no noise. Beside them stands what joining changes: the largest
difference of the edited latents, whose own spread is about 1, to each edit alone.

    python -m benchmarks.joined [--model FOLDER] [--rows 8 16 64] [--json FILE]

Without --model the pocket model is measured. The table goes to standard output.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wordbrush import Editor, EditRequest, Settings
from wordbrush.engine.driver import Driver
from wordbrush.picture.samples import load_samples

SETTINGS = (
    Settings(steps=20, maps=6),
    Settings(steps=12, ratio=0.5, maps=3, inversion_label="source"),
    Settings(steps=16, ratio=0.7, maps=2, guidance=3.0),
    Settings(steps=8, ratio=1.0, maps=4, solver="ddim", fixed_point=1),
    Settings(steps=10, solver="dpm2m", strength=(0.55, 0.65), maps=2),
    Settings(steps=15, ratio=0.6, eta=0.5, maps=4),
    Settings(steps=9, ratio=0.8, inversion_text="reference", inversion_guidance=2.0, maps=4),
    Settings(steps=14, ratio=0.8, strength_axis="grid", norm="l2", sign="signed", maps=4),
)


def requests() -> list[EditRequest]:
    """Return eight edits of the sample pictures."""
    samples = load_samples()
    return [
        EditRequest(
            picture=samples[number % len(samples)].path,
            query=samples[number % len(samples)].query,
            reference=samples[number % len(samples)].reference,
            seed=number,
            settings=settings,
        )
        for number, settings in enumerate(SETTINGS)
    ]


def run(editor: Editor, limit: int, *, join: bool) -> tuple[Driver, list[Tensor | None]]:
    """Run all edits; return the driver with its counts, and the edited latents (1, channel, height, width)."""
    editor.driver = Driver(editor.model, batch_limit=limit, join=join)
    items = [editor.open(request.picture).item(request) for request in requests()]
    outcomes = editor.driver.run(items).outcomes
    return editor.driver, [outcome.result().painted.latent for outcome in outcomes]


def largest(one: list[Tensor | None], other: list[Tensor | None]) -> float:
    """Return the largest difference between two lists of latents."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    return max(float((a - b).abs().max()) for a, b in pairs)


def measure(editor: Editor, limits: list[int]) -> list[dict[str, Any]]:
    """Return one line for each limit: evaluations, calls alone and joined, and the largest change of a latent."""
    lines = []
    for limit in limits:
        alone, latents_alone = run(editor, limit, join=False)
        joined, latents_joined = run(editor, limit, join=True)
        lines.append(
            {
                "rows a call": limit,
                "rows": alone.rows,
                "calls alone": alone.calls,
                "calls joined": joined.calls,
                "ratio": round(joined.calls / alone.calls, 3),
                "largest difference": largest(latents_alone, latents_joined),
            }
        )
        if joined.rows != alone.rows:
            raise RuntimeError(f"joining changed the rows: {alone.rows} and {joined.rows}")
    return lines


def main() -> None:
    """Measure and print."""
    line = argparse.ArgumentParser(prog="python -m benchmarks.joined", description=__doc__.split("\n\n")[0])
    line.add_argument("--model", default="pocket")
    line.add_argument("--rows", type=int, nargs="+", default=[8, 16, 64], help="most rows a call")
    line.add_argument("--json", type=Path)
    args = line.parse_args()
    torch.set_num_threads(1)
    lines = measure(Editor.from_pretrained(args.model), args.rows)
    print("| " + " | ".join(lines[0]) + " |")
    print("|" + "---|" * len(lines[0]))
    for entry in lines:
        cells = [f"{value:.2g}" if isinstance(value, float) else str(value) for value in entry.values()]
        print("| " + " | ".join(cells) + " |")
    if args.json:
        args.json.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
