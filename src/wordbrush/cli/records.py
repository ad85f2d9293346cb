"""`wordbrush inspect` and `wordbrush replay`: read what a file says of its making, and make it again."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.terminal import Terminal, one_line, print_json

if TYPE_CHECKING:
    from wordbrush.record.provenance import Provenance

__all__ = ["inspect", "replay"]

Recorded = Annotated[Path, typer.Argument(metavar="FILE", help="A picture made by wordbrush.")]


def inspect(*, file: Recorded, json: opt.Json = False) -> None:
    """Print what a file says of its making."""
    from wordbrush.record.provenance import read_provenance

    record = read_provenance(file)
    if json:
        print_json(json_module.loads(record.to_json()))
        return
    for name, value in _lines(record):
        print(f"{name:<12}{one_line(value)}")


def _lines(record: Provenance) -> list[tuple[str, str]]:
    source, model, mask = record.input, record.model, record.mask
    revision = f" at {model['revision']}" if model.get("revision") else ""
    packages = [f"{name} {version}" for name, version in record.packages.items() if name != "wordbrush"]
    changed = ", ".join(f"{name} {value}" for name, value in record.settings.items())
    return [
        *([("texts", "left out on purpose")] if record.withheld else _texts(record)),
        ("seed", str(record.seed)),
        (
            "input",
            f"{source['name'] or '(unnamed)'}, {source['width']} x {source['height']}, sha256 {source['sha256']}",
        ),
        ("model", f"{model['name']}{revision} ({model['family']}, {model['parametrisation']}, {model['dtype']})"),
        ("weights", f"sha256 {model['sha256']}"),
        ("mask", f"{mask['source']}, {float(mask['area']):.1%} of the picture, sha256 {mask['sha256']}"),
        ("preset", record.preset or "(none)"),
        ("settings", changed),
        ("made with", ", ".join([f"wordbrush {record.wordbrush}", *packages])),
        *(("note", note) for note in record.notes),
    ]


def _texts(record: Provenance) -> list[tuple[str, str]]:
    return [("query", record.query), ("reference", record.reference), ("negative", record.negative)]


def replay(
    *,
    file: Recorded,
    source: Annotated[
        Path | None, typer.Option("--input", help="The input picture; by default the recorded name, next to FILE.")
    ] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="The given mask, if the record is without it.")] = None,
    include: Annotated[Path | None, typer.Option("--include", help="The same for --include.")] = None,
    exclude: Annotated[Path | None, typer.Option("--exclude", help="The same for --exclude.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the reproduction goes; by default FILE-replay.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="The model, if it is not where the record says.")] = None,
    lora: opt.Lora = None,
    allow_download: opt.AllowDownload = False,
    device: opt.Device = None,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Make a file again from its own record, and print whether its bytes are identical.

    The input picture must be the recorded one: its SHA-256 is compared.
    """
    from wordbrush.cli.replaying import Replay

    terminal = Terminal(quiet=quiet)
    masks = {"mask": mask, "include": include, "exclude": exclude}
    order = Replay.of(file, source, masks, output, force=force)
    outcome = order.run(terminal, model, opt.parse_loras(lora), allow_download=allow_download, device=device)
    for name, (then, now) in outcome["other_packages"].items():
        terminal.warn(f"{name} was {then}, here it is {now}")
    if json:
        print_json(outcome)
        return
    terminal.note(str(order.output))
    print("identical" if outcome["identical"] else "same pixels" if outcome["same_pixels"] else "different")
