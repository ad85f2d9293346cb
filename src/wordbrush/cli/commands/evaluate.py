"""The commands `eval truth` and `eval bounds`: their flags and their help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.command import Command

__all__ = ["BoundsCommand", "TruthCommand"]

WHAT_PANEL = "What runs"
ITEMS_PANEL = "On which items"
HOW_PANEL = "How"


def _several(flag: str, text: str, metavar: str = "NAME", panel: str = WHAT_PANEL) -> Any:
    return typer.Option(flag, help=text + " Repeatable.", metavar=metavar, rich_help_panel=panel)


def _items(flag: str, text: str, **more: Any) -> Any:
    return typer.Option(flag, help=text, rich_help_panel=ITEMS_PANEL, **more)


def _how(flag: str, text: str, **more: Any) -> Any:
    return typer.Option(flag, help=text, rich_help_panel=HOW_PANEL, **more)


Split = Annotated[str, _items("--split", "dev to tune on, test to report.")]
Kinds = Annotated[list[str] | None, _several("--kind", "Only this kind of edit.", panel=ITEMS_PANEL)]


@dataclass(frozen=True, kw_only=True)
class TruthCommand(Command):
    """Score edits against the truth: masks, success, faults, likeness, cost.

    Writes ledger.sqlite while it runs, then result.json, rows.csv, summary.csv and report.html. Run again after a kill
    or Ctrl-C, it goes on where it was.
    """

    out: Annotated[Path, typer.Option("--out", help="Folder for results; resumes.", metavar="FOLDER")]
    preset: Annotated[list[str] | None, _several("--preset", "A named set of switches.")] = None
    method: Annotated[list[str] | None, _several("--method", "diffedit, or a baseline of the paper.")] = None
    peer: Annotated[list[str] | None, _several("--peer", "A pipeline of diffusers, on the same model.")] = None
    sets: Annotated[list[str] | None, _several("--set", "A switch for all.", "SETTING=VALUE")] = None
    vary: Annotated[list[str] | None, _several("--vary", "Each method at each value.", "SETTING=V1,V2,...")] = None
    phrasing: Annotated[list[str] | None, _several("--phrasing", "captions, phrases or empty.")] = None
    baseline: Annotated[
        str | None, typer.Option("--baseline", help="Variant the others are compared to.", rich_help_panel=WHAT_PANEL)
    ] = None
    split: Split = "dev"
    kind: Kinds = None
    limit: Annotated[int | None, _items("--limit", "At most this many items a kind.", min=1)] = None
    bench: Annotated[Path | None, _items("--bench", "The bench.", metavar="FOLDER")] = None
    judge: Annotated[Path | None, _items("--judge", "The bench's judge.", metavar="FOLDER")] = None
    critic: Annotated[Path | None, _items("--critic", "The bench's critic.", metavar="FOLDER")] = None
    lpips: Annotated[Path | None, _items("--lpips", "LPIPS weights.", metavar="FOLDER")] = None
    model: opt.ModelChoice
    seed: Annotated[int, _how("--seed", "Of every edit.", min=0)] = 0
    workers: Annotated[int, _how("--workers", "Processes.", min=1)] = 1
    threads: Annotated[int, _how("--threads", "Of each process; the last bits depend on it.", min=1)] = 1
    share: Annotated[bool, _how("--share", "Compute contrast and trajectory once an item; no seconds.")] = False
    memory: Annotated[bool, _how("--memory", "Measure peak memory.")] = False
    force: Annotated[bool, _how("--force", "Start anew.")] = False
    dry_run: Annotated[bool, _how("--dry-run", "List variants and items; run nothing.")] = False
    json: opt.Json = False
    quiet: opt.Quiet = False


@dataclass(frozen=True, kw_only=True)
class BoundsCommand(Command):
    """Proposition 1 of the paper: its constants, its bounds, and the errors they bound.

    Writes bounds.json, bounds.csv and bounds.html.
    """

    out: Annotated[Path, typer.Option("--out", help="Folder for the three reports.", metavar="FOLDER")]
    preset: opt.Preset = opt.DEFAULT_PRESET
    sets: opt.Sets = None
    ratios: Annotated[
        str, typer.Option("--ratios", help="Encoding ratios, rising.", metavar="R1,R2,...")
    ] = ".1,.2,.3,.4,.5,.6,.7,.8,.9,1"
    split: Split = "dev"
    kind: Kinds = None
    limit: Annotated[int, _items("--limit", "At most this many items a kind.", min=1)] = 1
    bench: Annotated[Path | None, _items("--bench", "The truth bench.", metavar="FOLDER")] = None
    model: opt.ModelChoice
    seed: Annotated[int, typer.Option("--seed", help="Of all noises.", min=0)] = 0
    force: opt.Force = False
    json: opt.Json = False
    quiet: opt.Quiet = False
