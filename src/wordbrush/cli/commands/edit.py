"""The commands `edit`, `mask` and `demo`: their flags and their help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.command import Command, Switches
from wordbrush.cli.reading import Reading
from wordbrush.cli.targets import CONTRAST_SUFFIXES, PICTURE_SUFFIXES, STDIO, check_free, check_suffix, marks, numbered
from wordbrush.errors import OutputError, SettingsError
from wordbrush.notation import drawn, parse_one_seed, parse_seeds
from wordbrush.settings import Settings
from wordbrush.texts import check_text

__all__ = ["Contrasting", "DemoCommand", "EditCommand", "MaskCommand", "check_texts"]

_Out = opt.OUTPUT_PANEL


def check_texts(texts: Mapping[str, Sequence[str]]) -> None:
    """Raise InputError where a text, by its flag, holds bytes that are not UTF-8."""
    for flag, several in texts.items():
        for text in several:
            check_text(text, f"text of {flag}")


class Contrasting(Command):
    """What `edit`, `mask` and `batch` share: the algorithm's settings and the model."""

    preset: str
    switches: dict[str, Any]
    model: opt.ModelChoice
    reading: Reading
    lora: list[str] | None
    embedding: list[str] | None
    force: bool

    def check_outputs(self, paths: Iterable[str]) -> None:
        """Refuse outputs that cannot be written; but of a model that is not there first, which would be met next.

        Raises:
            ModelError: an output cannot be written, and the model is nowhere on this machine.
            OutputError: a file exists and must not be overwritten, or its folder does not exist.
        """
        try:
            check_free(paths, force=self.force)
        except OutputError:
            self.model_choice.check_there()
            raise

    @cached_property
    def settings(self) -> Settings:
        """All switches of the algorithm.

        Raises:
            SettingsError: an unknown preset, or a value out of range.
        """
        return Settings.from_preset(self.preset, **self.switches)

    @cached_property
    def model_choice(self) -> opt.ModelChoice:
        """The model with its LoRAs and embeddings.

        Raises:
            SettingsError: an item of them cannot be read.
        """
        return self.model.with_add_ons(self.lora, self.embedding)


@dataclass(frozen=True, kw_only=True)
class EditCommand(Contrasting):
    """Edit the part of a picture that words change.

    With several seeds or texts the files are numbered: out-s5.png, out-q2.png, out-q2-s5.png.
    """

    picture: opt.PictureFile
    to: Annotated[list[str], typer.Option("--to", help="What it should show; repeat for several.", metavar="TEXT")]
    reference: opt.Reference = ""
    negative: opt.Negative = ""
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Result file; - writes a PNG to standard output.")
    ] = None
    seed: opt.Seeds = "0"
    preset: opt.Preset = opt.DEFAULT_PRESET
    model: opt.ModelChoice
    lora: opt.Lora = None
    embedding: opt.Embedding = None
    mask: opt.MaskFile = None
    include: opt.Include = None
    exclude: opt.Exclude = None
    save_mask: Annotated[
        str | None, typer.Option("--save-mask", help="Write the mask, a PNG.", rich_help_panel=_Out)
    ] = None
    save_contrast: Annotated[
        str | None,
        typer.Option(
            "--save-contrast", help="Write the soft map: a grey PNG, or the cells as .npy.", rich_help_panel=_Out
        ),
    ] = None
    panel: Annotated[
        str | None,
        typer.Option("--panel", help="Write input | contrast | mask | result as one picture.", rich_help_panel=_Out),
    ] = None
    check_inversion: opt.CheckInversion = False
    strip_metadata: opt.StripMetadata = False
    no_prompt: opt.NoPrompt = False
    force: opt.Force = False
    json: opt.Json = False
    quiet: opt.Quiet = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print stages, network evaluations, memory and sizes; run nothing.")
    ] = False
    reading: Reading
    switches: Switches

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of `--seed`.

        Raises:
            SettingsError: they cannot be read.
        """
        return parse_seeds(drawn(self.seed))

    @cached_property
    def marks(self) -> list[str]:
        """The mark in the file names of each result, such as `-q2-s5`; all seeds of the first text come first."""
        return marks(len(self.to), self.seeds)

    def targets(self, mark: str) -> dict[str, str]:
        """Return the paths of the files of one result, by kind."""
        named = {
            "output": self.output,
            "mask": self.save_mask,
            "contrast": self.save_contrast,
            "panel": self.panel,
        }
        return {kind: numbered(path, mark) for kind, path in named.items() if path is not None}

    def check(self) -> None:
        """Refuse flags that cannot work together and files that cannot be written, before anything is loaded.

        Raises:
            SettingsError: a flag cannot be read, or flags contradict one another.
            InputError: a text is not Unicode.
            OutputError: a file would be overwritten, or its folder is missing.
        """
        _ = self.seeds, self.model_choice
        check_texts({"--to": self.to, "--from": [self.reference], "--negative": [self.negative]})
        if self.output is None and not self.dry_run:
            raise SettingsError("edit: say where the result goes with -o FILE (or --dry-run to see the plan only)")
        if self.output == STDIO and self.json:
            raise SettingsError("-o - and --json both want standard output; give the picture a file name")
        if self.mask is not None and self.save_contrast is not None:
            raise SettingsError("--save-contrast needs the mask to be found, but --mask gives it")
        check_suffix(self.output, PICTURE_SUFFIXES, "-o")
        check_suffix(self.save_mask, (".png",), "--save-mask")
        check_suffix(self.save_contrast, CONTRAST_SUFFIXES, "--save-contrast")
        check_suffix(self.panel, PICTURE_SUFFIXES, "--panel")
        self.check_outputs(path for mark in self.marks for path in self.targets(mark).values())
        _ = self.settings


@dataclass(frozen=True, kw_only=True)
class MaskCommand(Contrasting):
    """Find the region that words change and write it as a mask, without editing."""

    picture: opt.PictureFile
    to: Annotated[str, typer.Option("--to", help="What it should show.", metavar="TEXT")]
    output: Annotated[str, typer.Option("--output", "-o", help="The mask, a PNG; white = edit.")]
    reference: opt.Reference = ""
    contrast: Annotated[
        str | None, typer.Option("--contrast", help="Write the soft map: a grey PNG, or the cells as .npy.")
    ] = None
    seed: Annotated[str, typer.Option("--seed", help="One seed, or random.", metavar="SEED")] = "0"
    preset: opt.Preset = opt.DEFAULT_PRESET
    model: opt.ModelChoice
    lora: opt.Lora = None
    embedding: opt.Embedding = None
    include: opt.Include = None
    exclude: opt.Exclude = None
    force: opt.Force = False
    json: opt.Json = False
    quiet: opt.Quiet = False
    reading: Reading
    switches: Switches

    @cached_property
    def one_seed(self) -> int:
        """The seed of `--seed`.

        Raises:
            SettingsError: it is not one seed.
        """
        return parse_one_seed(drawn(self.seed))

    def check(self) -> None:
        """Refuse flags that cannot work together and files that cannot be written, before anything is loaded.

        Raises:
            SettingsError: a flag cannot be read, or the files have wrong endings.
            InputError: a text is not Unicode.
            OutputError: a file would be overwritten, or its folder is missing.
        """
        _ = self.settings, self.one_seed, self.model_choice
        check_texts({"--to": [self.to], "--from": [self.reference]})
        check_suffix(self.output, (".png",), "-o")
        check_suffix(self.contrast, CONTRAST_SUFFIXES, "--contrast")
        self.check_outputs(path for path in (self.output, self.contrast) if path is not None)


@dataclass(frozen=True, kw_only=True)
class DemoCommand(Command):
    """Edit a shipped sample picture with the pocket model and print the path of the panel.

    The panel shows input | contrast | mask | result; the result itself is written beside it.
    """

    everything: Annotated[bool, typer.Option("--all", help="Edit every sample picture, one sheet.")] = False
    out: Annotated[Path, typer.Option("--out", help="Folder for the pictures.", metavar="FOLDER")] = Path(
        "wordbrush-demo"
    )
    seed: Annotated[str, typer.Option("--seed", help="One seed, or random.", metavar="SEED")] = "0"
    preset: opt.Preset = opt.DEFAULT_PRESET
    device: opt.Device = None
    force: opt.Force = False
    json: opt.Json = False
    quiet: opt.Quiet = False

    @cached_property
    def one_seed(self) -> int:
        """The seed of `--seed`.

        Raises:
            SettingsError: it is not one seed.
        """
        return parse_one_seed(drawn(self.seed))

    def check(self) -> None:
        """Refuse an unknown preset, or what is no seed, before anything is made."""
        _ = Settings.from_preset(self.preset), self.one_seed
