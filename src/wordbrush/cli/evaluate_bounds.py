"""`wordbrush eval bounds`: Proposition 1 of the paper on a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.loading import ModelChoice, load_editor
from wordbrush.cli.outputs import check_free
from wordbrush.cli.protocol_runs import one_of
from wordbrush.cli.terminal import Terminal, print_json
from wordbrush.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wordbrush.evaluation.bounds import Bounds
    from wordbrush.evaluation.items import TruthItem

__all__ = ["bounds"]

ITEMS_PANEL = "On which items"
FILES = ("bounds.json", "bounds.csv", "bounds.html")


def bounds(
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder for the three reports.", metavar="FOLDER")],
    preset: opt.Preset = opt.DEFAULT_PRESET,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="A switch, over the preset. Repeatable.", metavar="SETTING=VALUE"),
    ] = None,
    ratios: Annotated[
        str, typer.Option("--ratios", help="Encoding ratios, rising.", metavar="R1,R2,...")
    ] = ".1,.2,.3,.4,.5,.6,.7,.8,.9,1",
    split: Annotated[
        str, typer.Option("--split", help="dev to tune on, test to report.", rich_help_panel=ITEMS_PANEL)
    ] = "dev",
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only this kind of edit. Repeatable.", metavar="NAME", rich_help_panel=ITEMS_PANEL),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", help="At most this many items a kind.", min=1, rich_help_panel=ITEMS_PANEL)
    ] = 1,
    bench: Annotated[
        Path | None,
        typer.Option("--bench", help="The truth bench.", metavar="FOLDER", rich_help_panel=ITEMS_PANEL),
    ] = None,
    model: opt.ModelName = "pocket",
    revision: opt.Revision = None,
    allow_download: opt.AllowDownload = False,
    device: opt.Device = None,
    dtype: opt.Dtype = None,
    seed: Annotated[int, typer.Option("--seed", help="Of all noises.", min=0)] = 0,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Proposition 1 of the paper: its constants, its bounds, and the errors they bound.

    Writes bounds.json, bounds.csv and bounds.html.
    """
    from wordbrush.evaluation.variants import parse_assignments
    from wordbrush.settings import Settings

    settings = Settings.from_preset(preset, **parse_assignments(sets or []))
    numbers = _numbers(ratios)
    choice = ModelChoice.of(model, revision, device, dtype, None, allow_download=allow_download)
    items = _items(bench, split, kind or [], limit)
    _check_folder(out, force=force)
    terminal = Terminal(quiet=quiet)
    editor = load_editor(choice, terminal)
    from wordbrush.cli.progress import run_progress
    from wordbrush.evaluation.bounds import estimate_bounds
    from wordbrush.evaluation.runner import Progress

    pairs = [(item.picture, item.texts["captions"][1]) for item in items]
    with run_progress(terminal) as told:

        def on_step(done: int, total: int) -> None:
            if told is not None:
                told(Progress(done, total, 0, 0))

        found = estimate_bounds(editor, pairs, settings, numbers, seed, on_step=on_step)
    record: dict[str, Any] = {"command": "bounds", "split": split, "item_ids": [item.id for item in items]}
    record |= found.as_dict()
    _write(found, record, out, force=force)
    if json:
        print_json(record)
    else:
        print(_told(found))
    terminal.note(f"{out / 'bounds.html'}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(f"--ratios {text}: write numbers with commas between, like .2,.5,.8") from None


def _items(bench: Path | None, split: str, kinds: Sequence[str], limit: int) -> list[TruthItem]:
    from wordbrush.evaluation.items import KINDS
    from wordbrush.evaluation.truth import default_bench, load_truth

    chosen = [one_of("--kind", word, KINDS) for word in kinds] or None
    return load_truth(bench or default_bench(), one_of("--split", split, ("dev", "test")), chosen, limit)


def _check_folder(out: Path, *, force: bool) -> None:
    """Make the folder, and refuse to start where a report could not be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot make this folder ({error.strerror}); choose another --out") from error
    check_free([str(out / name) for name in FILES], force=force)


def _write(found: Bounds, record: dict[str, Any], out: Path, *, force: bool) -> None:
    import json

    from wordbrush.evaluation.bounds_page import as_csv, render
    from wordbrush.files import write_atomic

    texts = (json.dumps(record, indent=1, allow_nan=False) + "\n", as_csv(found), render(found))
    for name, text in zip(FILES, texts, strict=True):
        write_atomic(out / name, text.encode(), force=force)


def _told(found: Bounds) -> str:
    """Return constants, crossings and curves as lines for people."""
    known = found.constants
    lines = [
        f"C {known.c.largest:.3g} (guided {known.c_guided.largest:.3g})  K1 {known.lipschitz:.3g}  "
        f"K2 {known.k2.mean:.3g} (guided {known.guidance * known.k2.mean:.3g})"
    ]
    for name, at in found.crossings.items():
        lines.append(f"crossing of {name.replace('_', ' ')}: {'none' if at is None else f'{at:.3g}'}")
    names = [
        f"{start}_{what}{ending}"
        for ending in ("", "_guided")
        for start in ("noise", "encode")
        for what in ("bound", "error")
    ]
    lines.append("  ".join(["ratio", *names]))
    for row in found.rows:
        cells = [f"{row[name]:.3g}".rjust(len(name)) for name in names]
        lines.append("  ".join([f"{row['ratio']:5.2f}", *cells]))
    return "\n".join(lines)
