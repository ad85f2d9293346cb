"""`wordbrush eval bounds`: Proposition 1 of the paper on a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wordbrush.batch.runner import Progress
from wordbrush.cli.commands.evaluate import BoundsCommand
from wordbrush.cli.loading import load_editor
from wordbrush.cli.runs import one_of, run_progress
from wordbrush.cli.targets import check_free
from wordbrush.cli.terminal import Terminal, print_json, print_text
from wordbrush.errors import SettingsError
from wordbrush.evaluation.bounds import Bounds, estimate_bounds
from wordbrush.evaluation.bounds_page import report_of
from wordbrush.evaluation.items import KINDS, TruthItem
from wordbrush.evaluation.truth import default_bench, load_truth
from wordbrush.evaluation.variants import parse_assignments
from wordbrush.files import make_folder
from wordbrush.settings import Settings

__all__ = ["bounds"]

FILES = ("bounds.json", "bounds.csv", "bounds.html")


def bounds(command: BoundsCommand) -> None:
    """Estimate the constants, the bounds and the errors they bound, and write the three reports.

    Raises:
        WordbrushError: whatever went wrong, in one sentence.
    """
    settings = Settings.from_preset(command.preset, **parse_assignments(command.sets or []))
    ratios = _numbers(command.ratios)
    items = _items(command.bench, command.split, command.kind or [], command.limit)
    out, force = command.out, command.force
    _check_folder(out, force=force)
    terminal = Terminal(quiet=command.quiet)
    editor = load_editor(command.model, terminal)
    pairs = [(item.picture, item.texts["captions"][1]) for item in items]
    with run_progress(terminal) as show:

        def on_step(done: int, total: int) -> None:
            if show is not None:
                show(Progress(done, total, 0, 0))

        estimated = estimate_bounds(editor, pairs, settings, ratios, command.seed, on_step=on_step)
    record: dict[str, Any] = {"command": "bounds", "split": command.split, "item_ids": [item.id for item in items]}
    record |= estimated.as_dict()
    report_of(estimated, record).write(out, force=force)
    if command.json:
        print_json(record)
    else:
        print_text("\n".join(_lines(estimated)))
    terminal.note(f"{out / 'bounds.html'}")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(f"--ratios {text}: write numbers with commas between, like .2,.5,.8") from None


def _items(bench: Path | None, split: str, kinds: Sequence[str], limit: int) -> list[TruthItem]:
    chosen = [one_of("--kind", word, KINDS) for word in kinds] or None
    return load_truth(bench or default_bench(), one_of("--split", split, ("dev", "test")), chosen, limit)


def _check_folder(out: Path, *, force: bool) -> None:
    """Make the folder, and refuse to start where a report could not be written."""
    make_folder(out)
    check_free([str(out / name) for name in FILES], force=force)


def _lines(estimated: Bounds) -> list[str]:
    """Return constants, crossings and curves as lines for people."""
    known = estimated.constants
    lines = [
        f"C {known.c.largest:.3g} (guided {known.c_guided.largest:.3g})  K1 {known.lipschitz:.3g}  "
        f"K2 {known.k2.mean:.3g} (guided {known.guidance * known.k2.mean:.3g})"
    ]
    for name, at in estimated.crossings.items():
        lines.append(f"crossing of {name.replace('_', ' ')}: {'none' if at is None else f'{at:.3g}'}")
    names = [
        f"{start}_{what}{ending}"
        for ending in ("", "_guided")
        for start in ("noise", "encode")
        for what in ("bound", "error")
    ]
    lines.append("  ".join(["ratio", *names]))
    for row in estimated.rows:
        cells = [f"{row[name]:.3g}".rjust(len(name)) for name in names]
        lines.append("  ".join([f"{row['ratio']:5.2f}", *cells]))
    return lines
