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

from . import examples, export, export_flow, heldout, latents, train_flow, train_unet, train_vae, usual
from .artwork import FluentArtwork, fetch
from .atlas import build_atlas
from .autoencoder import LATENT_CHANNELS
from .pictures import draw
from .unet import LAYERS, WIDTHS


def _fetch(args: argparse.Namespace) -> None:
    fetch(args.work)


def _pictures(args: argparse.Namespace) -> None:
    artwork = FluentArtwork(fetch(args.work))
    draw(args.work / "run", "pictures", "train", 10_000, artwork)
    draw(args.work / "run", "heldout", "heldout", 48, artwork)


def _autoencoder(args: argparse.Namespace, name: str, words: list[str]) -> None:
    run = args.work / "run"
    files = ["--pictures", str(run / "pictures.npy"), "--heldout", str(run / "heldout.npy")]
    words = ["--run", str(run / name), "--threads", str(args.processes), *words]
    train_vae.train(train_vae.parser().parse_args([*words, *files]))


def _vae(args: argparse.Namespace) -> None:
    words = ["--steps", str(args.vae_steps), "--channels-latent", str(args.channels)]
    _autoencoder(args, "vae", [*words, "--lr", "2e-3", "--batch", "12", "--crop", "64", "--inside", "1"])


def _finish(args: argparse.Namespace) -> None:
    """Train the decoder further on whole pictures, while the encoder, and with it every latent, stays as it is."""
    weights = args.work / "run" / "vae" / "vae.safetensors"
    words = ["--steps", str(args.finish_steps), "--decoder-only", "--init-from", str(weights)]
    words += ["--lr", "1.2e-3", "--batch", "8", "--crop", "128", "--ema", "0.999", "--inside", "2"]
    _autoencoder(args, "vae-finished", words)


def _latents(args: argparse.Namespace) -> None:
    run = args.work / "run"
    if (run / "latents.done").is_file():
        return
    scale = latents.freeze(args.work, run / "vae-finished" / "vae.safetensors")
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


def _atlas(args: argparse.Namespace) -> None:
    """Collect the sprites for a machine with a GPU and without the artwork; see `gpu`."""
    (args.work / "run").mkdir(parents=True, exist_ok=True)
    build_atlas(FluentArtwork(fetch(args.work))).save(args.work / "atlas.npz")


def _export(args: argparse.Namespace) -> None:
    run = args.work / "run"
    scale = json.loads((run / "vae-frozen.json").read_text())["scaling_factor"]
    export.export(run / "unet", run / "vae-frozen.safetensors", scale, args.model, WIDTHS, LAYERS)
    usual.tell(args.model)


def _flow(args: argparse.Namespace) -> None:
    run = args.work / "run"
    files = ["--latents", str(run / "latents.npy"), "--heldout", str(run / "heldout-latents.npy")]
    words = ["--run", str(run / "flow"), "--vae", str(run / "vae-frozen.safetensors"), "--threads", str(args.processes)]
    words += ["--minutes", str(args.flow_minutes), "--compile"]
    train_flow.train(train_flow.flow_parser().parse_args([*words, *files]))


def _flow_export(args: argparse.Namespace) -> None:
    run = args.work / "run"
    scale = json.loads((run / "vae-frozen.json").read_text())["scaling_factor"]
    export_flow.export_flow(run / "flow", run / "vae-frozen.safetensors", scale, args.flow_model)
    usual.tell(args.flow_model)


def _heldout(args: argparse.Namespace) -> None:
    heldout.write(args.heldout, FluentArtwork(fetch(args.work)))


def _examples(args: argparse.Namespace) -> None:
    examples.write(args.examples, FluentArtwork(fetch(args.work)))


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    "fetch": _fetch,
    "pictures": _pictures,
    "vae": _vae,
    "finish": _finish,
    "latents": _latents,
    "unet": _unet,
    "export": _export,
    "flow": _flow,
    "flow-export": _flow_export,
    "heldout": _heldout,
    "examples": _examples,
    "atlas": _atlas,
}


def main() -> None:
    """Run the chosen stages in order."""
    line = argparse.ArgumentParser(prog="python -m training.pocket", description=__doc__)
    line.add_argument("stages", nargs="+", choices=["all", *STAGES], help="stages to run, or all")
    line.add_argument("--work", type=Path, default=Path("training/pocket/run"), help="folder of everything in between")
    line.add_argument("--model", type=Path, default=Path("src/wordbrush/models/pocket"))
    line.add_argument("--flow-model", type=Path, default=Path("src/wordbrush/models/pocket_flow"))
    line.add_argument("--heldout", type=Path, default=Path("tests/pocket/heldout"))
    line.add_argument("--examples", type=Path, default=Path("examples"))
    line.add_argument("--channels", type=int, default=LATENT_CHANNELS, help="latent channels")
    line.add_argument("--vae-steps", type=int, default=8000)
    line.add_argument("--finish-steps", type=int, default=3700)
    line.add_argument("--unet-minutes", type=float, default=720.0)
    line.add_argument("--flow-minutes", type=float, default=160.0)
    line.add_argument("--scenes", type=int, default=60_000)
    line.add_argument("--processes", type=int, default=2)
    args = line.parse_args()
    for name in STAGES if "all" in args.stages else args.stages:
        print(f"pocket: {name}", file=sys.stderr)  # progress belongs to people, on stderr
        STAGES[name](args)


if __name__ == "__main__":
    main()
