"""The command `batch report`: its flags and its help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.command import Command
from wordbrush.cli.reading import Reading

__all__ = ["ReportCommand"]


@dataclass(frozen=True, kw_only=True)
class ReportCommand(Command):
    """Write report.html into the folder of a batch: every item with input, mask and result, and what failed and why.

    Where a table has the columns truth (a picture) or truth_mask (white = may change), items are measured against
    them. It can be written while the batch runs, too.
    """

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a batch.")]
    by: Annotated[
        str | None, typer.Option("--by", help="Group figures by a column or a switch.", metavar="COLUMN")
    ] = None
    every: Annotated[bool, typer.Option("--all", help="Items of earlier runs, too.")] = False
    lpips: Annotated[Path | None, typer.Option("--lpips", help="LPIPS weights.", metavar="FOLDER")] = None
    clip: Annotated[str | None, typer.Option("--clip", help="CLIP weights.", metavar="FOLDER|REPO")] = None
    json: opt.Json = False
    quiet: opt.Quiet = False
    reading: Reading

