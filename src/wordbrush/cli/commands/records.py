"""The commands `inspect` and `replay`: their flags and their help."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.command import Command
from wordbrush.cli.reading import MaxBytes, Reading, limits_of
from wordbrush.cli.targets import PICTURE_SUFFIXES, STDIO, check_free, check_suffix
from wordbrush.errors import SettingsError
from wordbrush.picture.limits import ReadingLimits

__all__ = ["MOST_THREADS", "RECORDED", "InspectCommand", "ReplayCommand"]

MOST_THREADS = 1024
RECORDED = "recorded"
"""What `--threads` takes beside a number."""

File = Annotated[Path, typer.Argument(metavar="FILE", help="A picture made by wordbrush.")]


@dataclass(frozen=True, kw_only=True)
class InspectCommand(Command):
    """Print what a file says of its making."""

    file: File
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

    file: File
    source: Annotated[
        Path | None, typer.Option("--input", help="The input picture; by default the recorded name, next to FILE.")
    ] = None
    mask: Annotated[Path | None, typer.Option("--mask", help="The given mask, if the record is without it.")] = None
    include: Annotated[Path | None, typer.Option("--include", help="The same for --include.")] = None
    exclude: Annotated[Path | None, typer.Option("--exclude", help="The same for --exclude.")] = None
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Result file; by default FILE-replay; - writes a PNG to standard output."),
    ] = None
    model: Annotated[str | None, typer.Option("--model", help="The model, if it is not where the record says.")] = None
    lora: opt.Lora = None
    embedding: opt.Embedding = None
    parametrisation: opt.Parametrisation = None
    config: opt.Config = None
    tokenizer: opt.Tokenizer = None
    vae: opt.Vae = None
    unet: opt.Unet = None
    transformer: opt.Transformer = None
    text_encoder: opt.TextEncoder = None
    text_encoder_2: opt.TextEncoder2 = None
    text_encoder_3: opt.TextEncoder3 = None
    allow_download: opt.AllowDownload = False
    device: opt.Device = None
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float32, float16 or bfloat16. Default: the recorded one.")
    ] = None
    offload: opt.OffloadWay = None
    backend: Annotated[
        str | None,
        typer.Option("--backend", help="torch, compile or openvino. Default: the recorded one.", metavar="NAME"),
    ] = None
    threads: Annotated[
        str | None,
        typer.Option(
            "--threads", help="Threads on the CPU; recorded takes as many as then. Default: as ever.", metavar="N"
        ),
    ] = None
    any_cost: Annotated[
        bool, typer.Option("--any-cost", help="Replay also what takes as long as dozens of usual edits.")
    ] = False
    force: opt.Force = False
    json: opt.Json = False
    quiet: opt.Quiet = False
    reading: Reading

    def check(self) -> None:
        """Refuse flags that cannot work together and a file that cannot be written, before anything is loaded.

        Raises:
            SettingsError: a flag cannot be read, or flags contradict one another.
            OutputError: a file would be overwritten, or its folder is missing.
        """
        if self.output == STDIO and self.json:
            raise SettingsError("-o - and --json both want standard output; give the picture a file name")
        threads = "1" if self.threads in (None, RECORDED) else str(self.threads)
        if not re.fullmatch(r"[0-9]{1,4}", threads) or not 1 <= int(threads) <= MOST_THREADS:
            raise SettingsError(f"--threads {self.threads}: write a number from 1 to {MOST_THREADS}, or {RECORDED}")
        check_suffix(self.output, PICTURE_SUFFIXES, "-o")
        check_free([self.output] if self.output else [], force=self.force)
