"""Batches against edits one by one: items a second, as ratios inside one run.

Each edit alone is what a script would do: open the picture, edit, save. Beside it stand a batch in one process (reads
ahead, writes beside the network), one with two workers, one whose items share pictures, and a batch that is done
already. All run with one thread a process; the start of processes counts.

    python -m benchmarks.batch [--model FOLDER] [--items 24] [--steps 4] [--workers 2] [--device cpu] [--json FILE]

Without --model the pocket model is measured. The table goes to standard output.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from wordbrush import Batch, Editor
from wordbrush.picture.samples import load_samples

SHARED = 4
"""Seeds of one picture, where items share pictures."""


def rows(count: int, shared: int = 1) -> list[dict[str, Any]]:
    """Return rows of the sample pictures, `shared` seeds of each picture and text."""
    samples = load_samples()
    return [
        {
            "picture": str(samples[number // shared % len(samples)].path.absolute()),
            "query": samples[number // shared % len(samples)].query,
            "reference": samples[number // shared % len(samples)].reference,
            "seed": number % shared if shared > 1 else number,
            "output": f"item-{number}",
        }
        for number in range(count)
    ]


def one_by_one(editor: Editor, asked: list[dict[str, Any]], folder: Path, switches: dict[str, Any]) -> None:
    """Edit each picture alone and save it."""
    folder.mkdir()
    for row in asked:
        result = editor.edit(row["picture"], row["query"], row["reference"], seed=row["seed"], **switches)
        result.save(folder / f"{row['output']}.png")


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def measure(model: str, items: int, workers: int, device: str, switches: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a line a way: its name, items a second, and how many times that of the same edits one by one."""
    editor, load = Editor.from_pretrained(model, device=device), {"device": device}
    editor.edit(rows(1)[0]["picture"], "a zebra on grass", **switches)  # what is made at the first call
    table = []
    with tempfile.TemporaryDirectory() as made:
        for kind, shared in (("each its picture", 1), (f"{SHARED} a picture", SHARED)):
            asked, place = rows(items, shared), Path(made, str(shared))
            place.mkdir()
            alone = seconds(lambda a=asked, p=place: one_by_one(editor, a, p / "alone", switches))  # type: ignore[misc]
            given = Batch.of(asked, place / "one", model=editor, **switches)
            named = Batch.of(asked, place / "several", model=model, load=load, **switches)
            took = {
                f"one by one, {kind}": alone,
                f"batch, one process, {kind}": seconds(lambda b=given: b.run(threads=1)),  # type: ignore[misc]
            }
            if editor.model.device.type == "cpu":
                took[f"batch, {workers} workers, {kind}"] = seconds(lambda b=named: b.run(workers=workers))  # type: ignore[misc]
            took[f"batch, done already, {kind}"] = seconds(lambda b=given: b.run(threads=1))  # type: ignore[misc]
            table += [{"way": way, "items_per_second": items / took[way], "ratio": alone / took[way]} for way in took]
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Batches against edits one by one.")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    switches = {"steps": arguments.steps, "maps": 1}
    table = measure(arguments.model, arguments.items, arguments.workers, arguments.device, switches)
    width = max(len(line["way"]) for line in table)
    for line in table:
        print(f"{line['way']:<{width}}  {line['items_per_second']:8.3f} items/s  {line['ratio']:6.2f} x")
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
