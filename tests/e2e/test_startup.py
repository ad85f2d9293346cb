"""What one edit with the shipped model imports, as a process of its own, and how such a process ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import wordbrush as wb

ROOT = Path(__file__).parents[2]
HORSE = ROOT / "examples" / "horse.png"
QUERY, REFERENCE = "a zebra on grass", "a horse on grass"
UNUSED = {
    "transformers", "peft", "scipy.stats", "scipy.optimize", "sympy", "torch._dynamo", "torch._inductor", "torch.onnx",
    "torch.distributed.tensor", "diffusers.pipelines.stable_diffusion", "matplotlib", "jinja2", "gradio", "fastapi",
    "pandas", "pyarrow", "ray", "wordbrush.evaluation", "wordbrush.batch", "wordbrush.web",
}  # fmt: skip
EDIT = f"""
import atexit, sys, threading
from wordbrush.cli import main, startup
startup.begin()
atexit.register(lambda: print("told at the end"))
code = main(sys.argv[1:])
print(code, sorted({UNUSED!r} & set(sys.modules)))
threading.Timer(0.2, lambda: print("a thread ended")).start()
startup.end_with(7)
"""


def test_an_edit_imports_what_it_uses_and_gives_the_same_picture(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment.pop("WORDBRUSH_DEBUG", None)
    out = tmp_path / "out.png"
    words = ["edit", str(HORSE), "--to", QUERY, "--from", REFERENCE, "--steps", "4", "--maps", "2"]
    done = subprocess.run(
        [sys.executable, "-c", EDIT, *words, "--device", "cpu", "-o", out, "--quiet"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.stdout.splitlines() == ["0 []", "a thread ended", "told at the end"], done.stderr
    assert done.returncode == 7
    ordinary = wb.Editor.from_pretrained("pocket", device="cpu").edit(HORSE, QUERY, REFERENCE, steps=4, maps=2)
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(ordinary.image))
    told = wb.read_provenance(out)
    assert (told.model, told.packages) == (ordinary.provenance.model, ordinary.provenance.packages)
