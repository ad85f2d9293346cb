"""The commands `inspect` and `replay`: their flags and their help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.command import Command
from wordbrush.cli.reading import MaxBytes, Reading, limits_of
from wordbrush.picture.limits import ReadingLimits

__all__ = ["InspectCommand", "ReplayCommand"]

Recorded = Annotated[Path, typer.Argument(metavar="FILE", help="A picture made by wordbrush.")]


@dataclass(frozen=True, kw_only=True)
class InspectCommand(Command):
    """Print what a file says of its making."""

    file: Recorded
    json: opt.Json = False
    max_bytes: MaxBytes = None

    @property
    def limits(self) -> ReadingLimits:
        """How large the file may be.

        Raises:
            SettingsError: the size cannot be read.
        """
        return limits_of(None, self.max_bytes)


@dataclass(frozen=True, kw_only=True)
class ReplayCommand(Command):
    """Make a file again from its own record, and print whether its bytes are identical.

    The input picture must be the recorded one: its SHA-256 is compared.
    """

    file: Recorded
    source: Annotated[
        Path | None, typer.Option("--input", help="The input picture; by default the recorded name, next to FILE.")
    ] = None
    mask: Annotated[Path | None, typer.Option("--mask", help="The given mask, if the record is without it.")] = None
    include: Annotated[Path | None, typer.Option("--include", help="The same for --include.")] = None
    exclude: Annotated[Path | None, typer.Option("--exclude", help="The same for --exclude.")] = None
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the reproduction goes; by default FILE-replay.")
    ] = None
    model: Annotated[str | None, typer.Option("--model", help="The model, if it is not where the record says.")] = None
    lora: opt.Lora = None
    embedding: opt.Embedding = None
    parametrisation: opt.Parametrisation = None
    config: opt.Config = None
    tokenizer: opt.Tokenizer = None
    vae: opt.Vae = None
    allow_download: opt.AllowDownload = False
    device: opt.Device = None
    force: opt.Force = False
    json: opt.Json = False
    quiet: opt.Quiet = False
    reading: Reading

    @property
    def limits(self) -> ReadingLimits:
        """How large the file, its input and masks may be.

        Raises:
            SettingsError: a size cannot be read.
        """
        return self.reading.limits
