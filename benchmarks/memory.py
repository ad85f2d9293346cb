"""How much memory whole edits take: SDXL and FLUX.1 in shape, at a scaled width, by dtype and by way of offloading.

    python -m benchmarks.memory [--shape sdxl ...] [--dtype bfloat16 ...] [--offload none ...] [--device cuda]
                                [--width 0.25] [--side 64] [--work FOLDER] [--json FILE]

Both models are built of the real classes with random weights, in as many blocks as the published ones, and `--width`
times as wide (by default a quarter and an eighth; 1 is their own size). They are written once, in bfloat16, as most are
published. Each run is a process of its own that loads one and carries out one edit of a picture of `--side` pixels.
Measured are, above what the process takes with all libraries loaded:

- on a GPU the most that torch had allocated there;
- in main memory the largest resident set, and of it the anonymous part: what is no page of a file, so that it cannot be
  dropped and read again when memory is short. Sampled every few milliseconds, on Linux.

`shown` is what `wordbrush models show` foretells of the weights at that dtype.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.shapes import SHAPES, WIDTHS, build
from wordbrush import Editor
from wordbrush.models.checkpoint.sources import locate
from wordbrush.models.outline import outline

DTYPES = ("float32", "bfloat16")
OFFLOADS = ("none", "model", "group", "sequential")
MIB = 2**20
PERIOD = 0.003
LIBRARIES = (
    "diffusers.hooks",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.transformers.transformer_flux",
    "diffusers.models.unets.unet_2d_condition",
    "transformers.models.clip.modeling_clip",
    "transformers.models.t5.modeling_t5",
    "transformers.models.t5.tokenization_t5",
    "wordbrush.models.families.flux_1",
    "wordbrush.models.families.stable_diffusion_xl",
)
"""What runs load at different times, and is loaded before any is measured."""


class Peaks:
    """The largest figures of this process so far, in bytes, above what they were at the start."""

    def __init__(self) -> None:
        self._start = _resident()
        self.most = dict.fromkeys(self._start, 0)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._done.wait(PERIOD):
            self.look()

    def look(self) -> None:
        """Take the figures of now into account."""
        for name, value in _resident().items():
            self.most[name] = max(self.most[name], value - self._start[name])

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.look()


def _resident() -> dict[str, int]:
    """Return the resident set of this process, and its anonymous part where the system tells it, in bytes."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return {"resident": int(psutil.Process().memory_info().rss)}
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return {name: int(lines[key].split()[0]) * 1024 for name, key in (("resident", "VmRSS"), ("anonymous", "RssAnon"))}


def measure(folder: Path, dtype: str, offload: str, device: str, side: int) -> dict[str, Any]:
    """Load a model and carry out one edit in this process.

    Returns:
        Peaks in bytes by name, at load and in all, and seconds.
    """
    for library in LIBRARIES:
        import_module(library)
    Editor.from_pretrained("pocket", device=device)
    sizes = outline(locate(str(folder))).facts()
    shown = sizes["float32_bytes" if dtype == "float32" else "half_bytes"]
    way: dict[str, Any] = {} if offload == "none" else {"offload": offload}
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    picture = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    inside = np.zeros((side, side), bool)
    inside[side // 4 : side // 2, side // 4 : side // 2] = True
    begin = time.perf_counter()
    with Peaks() as peaks:
        editor = Editor.from_pretrained(folder, dtype=dtype, device=device, **way)
        peaks.look()
        loaded, load_seconds = dict(peaks.most), time.perf_counter() - begin
        begin = time.perf_counter()
        result = editor.edit(picture, "a red fox", "a dog", include=inside, steps=2, maps=1, resolution=side)
        seconds = time.perf_counter() - begin
    figures = {"shown": shown, **{f"{name}_load": value for name, value in loaded.items()}, **peaks.most}
    if torch.device(device).type == "cuda":
        figures["device"] = torch.cuda.max_memory_allocated()
    return {**figures, "load_seconds": load_seconds, "edit_seconds": seconds, "warnings": list(result.report.warnings)}


def run(folder: Path, dtype: str, offload: str, device: str, side: int) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--measure", str(folder), dtype, offload, device, str(side)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure what is asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--offload", nargs="+", default=list(OFFLOADS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--width", type=float, help="by default that of WIDTHS")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--work", type=Path, default=Path("memory-work"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        folder, dtype, offload, device, side = options.measure
        print(json.dumps(measure(Path(folder), dtype, offload, device, int(side))))
        return
    rows = []
    for shape in options.shape:
        width = options.width or WIDTHS[shape]
        folder = build(shape, width, options.work)
        for dtype in options.dtype:
            for offload in options.offload:
                row = {"shape": shape, "width": width, "dtype": dtype, "offload": offload}
                rows.append({**row, **run(folder, dtype, offload, options.device, options.side)})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps({"device": options.device, "side": options.side, "rows": rows}, indent=1))
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures as a table of Markdown, in MiB and seconds."""
    columns = [name for name in ("shown", "device", "resident_load", "resident", "anonymous") if name in rows[0]]
    lines = [["shape", "dtype", "offload", *columns, "load s", "edit s"], ["---"] * (len(columns) + 5)]
    for row in rows:
        sizes = [f"{row[name] / MIB:,.0f}" for name in columns]
        seconds = [f"{row[name]:.1f}" for name in ("load_seconds", "edit_seconds")]
        lines.append([row["shape"], row["dtype"], row["offload"], *sizes, *seconds])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
