"""Runs the stages from artwork to shipped model: ``python -m training.pocket all``, or the stages by name.

Every stage keeps its result under the work folder and is skipped when the result is there; training resumes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import examples, export, heldout, latents, train_unet, train_vae
from .artwork import FluentArtwork, fetch
from .render import SIZE, render
from .scenes import Stream, sample_scene
from .unet import LAYERS, WIDTHS


def draw(work: Path, name: str, stream: Stream, count: int) -> None:
    """Render `count` scenes into ``run/NAME.npy`` as bytes (picture, row, column, RGB)."""
    path = work / "run" / f"{name}.npy"
    if path.is_file():
        return
    artwork = FluentArtwork(fetch(work))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    out = np.lib.format.open_memmap(part, "w+", np.uint8, (count, SIZE, SIZE, 3))
    for index in range(count):
        out[index] = render(sample_scene(index, stream), artwork).picture
    out.flush()
    part.replace(path)


def _fetch(args: argparse.Namespace) -> None:
    fetch(args.work)


def _pictures(args: argparse.Namespace) -> None:
    draw(args.work, "pictures", "train", 10_000)
    draw(args.work, "heldout", "heldout", 48)


def _vae(args: argparse.Namespace) -> None:
    run = args.work / "run" / "vae"
    if (run / "sheet.png").is_file():
        return
    words = ["--run", str(run), "--minutes", str(args.vae_minutes), "--lr", "2e-3", "--batch", "12"]
    files = ["--pictures", str(args.work / "run" / "pictures.npy"), "--heldout", str(args.work / "run" / "heldout.npy")]
    train_vae.train(train_vae.parser().parse_args([*words, *files]))


def _latents(args: argparse.Namespace) -> None:
    run = args.work / "run"
    if (run / "latents.done").is_file():
        return
    scale = latents.freeze(args.work, run / "vae" / "vae.safetensors")
    latents.build(args.work, "heldout-latents", "heldout", 512, args.processes, scale)
    latents.build(args.work, "latents", "train", args.scenes, args.processes, scale)
    (run / "latents.done").touch()


def _unet(args: argparse.Namespace) -> None:
    run = args.work / "run"
    state = run / "unet" / "state.json"
    if state.is_file() and json.loads(state.read_text())["minutes"] >= args.unet_minutes:
        return
    (run / "unet" / "meeting").unlink(missing_ok=True)
    files = ["--latents", str(run / "latents.npy"), "--heldout", str(run / "heldout-latents.npy")]
    words = ["--run", str(run / "unet"), "--vae", str(run / "vae-frozen.safetensors"), "--threads", "1"]
    words += ["--minutes", str(args.unet_minutes), "--world", str(args.processes)]
    context = multiprocessing.get_context("spawn")
    team = []
    for rank in range(args.processes):
        settings = train_unet.parser().parse_args([*words, *files, "--rank", str(rank)])
        team.append(context.Process(target=train_unet.train, args=(settings,)))
    for member in team:
        member.start()
    for member in team:
        member.join()
    if any(member.exitcode for member in team):
        raise RuntimeError("training stopped; run the stage again to resume from the last state")


def _tune(args: argparse.Namespace) -> None:
    """Train the decoder further while the encoder, and with it every latent, stays as it is."""
    run = args.work / "run"
    if (run / "tune" / "sheet.png").is_file() or not args.tune_minutes:
        return
    words = ["--run", str(run / "tune"), "--minutes", str(args.tune_minutes), "--lr", "1e-3", "--batch", "12"]
    words += ["--decoder-only", "--resume", str(run / "vae-frozen.safetensors")]
    files = ["--pictures", str(run / "pictures.npy"), "--heldout", str(run / "heldout.npy")]
    train_vae.train(train_vae.parser().parse_args([*words, *files]))


def _export(args: argparse.Namespace) -> None:
    run = args.work / "run"
    tuned = run / "tune" / "vae.safetensors"
    vae = tuned if (run / "tune" / "sheet.png").is_file() else run / "vae-frozen.safetensors"
    scale = json.loads((run / "vae-frozen.json").read_text())["scaling_factor"]
    export.export(run / "unet", vae, scale, args.model, WIDTHS, LAYERS)


def _heldout(args: argparse.Namespace) -> None:
    heldout.write(args.heldout, FluentArtwork(fetch(args.work)))


def _examples(args: argparse.Namespace) -> None:
    examples.write(args.examples, FluentArtwork(fetch(args.work)))


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    "fetch": _fetch,
    "pictures": _pictures,
    "vae": _vae,
    "latents": _latents,
    "unet": _unet,
    "tune": _tune,
    "export": _export,
    "heldout": _heldout,
    "examples": _examples,
}


def main() -> None:
    """Run the chosen stages in order."""
    line = argparse.ArgumentParser(prog="python -m training.pocket", description=__doc__)
    line.add_argument("stages", nargs="+", choices=["all", *STAGES], help="stages to run, or all")
    line.add_argument("--work", type=Path, default=Path("training/pocket/run"), help="folder of everything in between")
    line.add_argument("--model", type=Path, default=Path("src/wordbrush/models/pocket"))
    line.add_argument("--heldout", type=Path, default=Path("tests/pocket/heldout"))
    line.add_argument("--examples", type=Path, default=Path("examples"))
    line.add_argument("--vae-minutes", type=float, default=20.0)
    line.add_argument("--unet-minutes", type=float, default=90.0)
    line.add_argument("--tune-minutes", type=float, default=10.0)
    line.add_argument("--scenes", type=int, default=40_000)
    line.add_argument("--processes", type=int, default=2)
    args = line.parse_args()
    for name in STAGES if "all" in args.stages else args.stages:
        print(f"pocket: {name}", file=sys.stderr)  # progress belongs to people, on stderr
        STAGES[name](args)


if __name__ == "__main__":
    main()
