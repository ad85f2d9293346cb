"""The commands `batch run`, `status` and `export`: their flags and their help."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.command import Command, Grids
from wordbrush.cli.commands.edit import Contrasting, check_texts
from wordbrush.cli.reading import Reading
from wordbrush.cli.targets import PICTURE_SUFFIXES
from wordbrush.errors import SettingsError
from wordbrush.notation import parse_seeds
from wordbrush.settings import Settings

__all__ = ["KINDS", "BatchCommand", "ExportCommand", "StatusCommand"]

RUN_PANEL: Final = "The run"
KINDS: Final = ("jsonl", "csv", "parquet")


def _run(flag: str, text: str, **more: Any) -> Any:
    return typer.Option(flag, help=text, rich_help_panel=RUN_PANEL, **more)


@dataclass(frozen=True, kw_only=True)
class BatchCommand(Contrasting):
    """Edit many pictures: a folder, a pattern, or a table with a row for each edit. Run again, it goes on.

    Columns of a table are named like the flags of `edit`: picture, query, reference, negative, mask, include, exclude,
    seed, preset, output, and every switch; what a row lacks, the flags say. Texts of flags may name columns: --to "a
    {breed} on grass". Switches and seeds with several values make an item of each combination.
    """

    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder, a pattern, .jsonl, .csv or .parquet; a URL of these.")
    ]
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for results and ledger.", metavar="DIR")
    ]
    to: Annotated[str, typer.Option("--to", help="What rows without a query should show.", metavar="TEXT")] = ""
    reference: opt.Reference = ""
    negative: opt.Negative = ""
    seed: opt.Seeds = "0"
    called: Annotated[
        str | None,
        typer.Option("--name", help="Names of results: '{stem}-{breed}'; or by picture and key.", metavar="TEXT"),
    ] = None
    format: Annotated[str, typer.Option("--format", help="Ending of results.", metavar="ENDING")] = ".png"
    preset: opt.Preset = opt.DEFAULT_PRESET
    model: opt.ModelChoice
    lora: opt.Lora = None
    embedding: opt.Embedding = None
    mask: opt.MaskFile = None
    include: opt.Include = None
    exclude: opt.Exclude = None
    masks: Annotated[
        bool, typer.Option("--masks/--no-masks", help="Write each mask, too.", rich_help_panel=opt.OUTPUT_PANEL)
    ] = True
    check_inversion: opt.CheckInversion = False
    strip_metadata: opt.StripMetadata = False
    no_prompt: opt.NoPrompt = False
    engine: Annotated[str, _run("--engine", "What runs the items: local or ray.", metavar="NAME")] = "local"
    workers: Annotated[int | None, _run("--workers", "Processes, on a CPU.", min=1)] = None
    threads: Annotated[int | None, _run("--threads", "Of each; the last bits depend on it.", min=1)] = None
    retries: Annotated[int, _run("--retries", "Further tries of an item whose process died.", min=0)] = 1
    retry_failed: Annotated[bool, _run("--retry-failed", "Try those again that failed.")] = False
    limit: Annotated[int | None, _run("--limit", "At most this many items now.", min=0)] = None
    address: Annotated[
        str | None, _run("--address", "Ray cluster to join, host:port or auto; else Ray starts here.", metavar="PLACE")
    ] = None
    cpus_per_worker: Annotated[
        float | None, _run("--cpus-per-worker", "What each worker asks Ray for; by default its threads.", min=0)
    ] = None
    gpus_per_worker: Annotated[
        float | None, _run("--gpus-per-worker", "Likewise; by default 1 where the cluster has any.", min=0)
    ] = None
    wait: Annotated[
        float | None, _run("--wait", "Seconds for Ray to offer a first worker its place; by default 600.", min=0)
    ] = None
    dry_run: Annotated[bool, _run("--dry-run", "Print items, evaluations, hours and gigabytes; edit nothing.")] = False
    json: opt.Json = False
    quiet: opt.Quiet = False
    reading: Reading
    grids: Grids

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of `--seed`.

        Raises:
            SettingsError: they cannot be read, or are to be drawn.
        """
        if "random" in self.seed:
            raise SettingsError("--seed random would ask for other items at every start: name seeds, such as 1-4")
        return parse_seeds(self.seed)

    @cached_property
    def settings(self) -> Settings:
        """The switches that have one value, over the preset.

        Raises:
            SettingsError: an unknown preset, or a value out of range.
        """
        for name, values in self.grids.items():
            for value in values:
                Settings.from_preset(self.preset, **{**self.single, name: value})
        return Settings.from_preset(self.preset, **self.single)

    @property
    def single(self) -> dict[str, Any]:
        """The switches with one value."""
        return {name: values[0] for name, values in self.grids.items() if len(values) == 1}

    @property
    def several(self) -> dict[str, tuple[Any, ...]]:
        """The switches with several values."""
        return {name: values for name, values in self.grids.items() if len(values) > 1}

    @property
    def suffix(self) -> str:
        """The ending of results, with its dot."""
        return "." + self.format.lower().removeprefix(".")

    @property
    def engine_options(self) -> dict[str, Any]:
        """What only the engine knows, of what is given."""
        names = ("address", "cpus_per_worker", "gpus_per_worker", "wait")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def check(self) -> None:
        """Refuse flags that cannot work together, before anything is loaded.

        Raises:
            SettingsError: a flag cannot be read, or flags contradict one another.
            InputError: a text is not Unicode.
        """
        if self.engine == "local" and self.engine_options:
            name = next(iter(self.engine_options)).replace("_", "-")
            raise SettingsError(f"--{name} is for --engine ray")
        _ = self.seeds, self.model_choice, self.settings
        check_texts({"--to": [self.to], "--from": [self.reference], "--negative": [self.negative]})
        if self.suffix not in PICTURE_SUFFIXES:
            raise SettingsError(f"--format {self.format}: known are {', '.join(PICTURE_SUFFIXES)}")


@dataclass(frozen=True, kw_only=True)
class StatusCommand(Command):
    """Say how far a batch is: items by state, errors by type. Reads the ledger alone, also while it runs."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a batch.")]
    json: opt.Json = False


@dataclass(frozen=True, kw_only=True)
class ExportCommand(Command):
    """Write the items of a batch as a table: what was asked for, what came of it."""

    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a batch.")]
    kind: Annotated[str, typer.Argument(metavar="KIND", help="jsonl, csv or parquet.")]
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The file; standard output where none is named.")
    ] = None
    force: opt.Force = False

    def check(self) -> None:
        """Refuse an unknown kind of table.

        Raises:
            SettingsError: it is unknown, or Parquet for standard output.
        """
        if self.kind not in KINDS:
            raise SettingsError(f"{self.kind!r} is no kind of table: known are {', '.join(KINDS)}")
        if self.kind == "parquet" and self.output is None:
            raise SettingsError("parquet is not for standard output: name a file with -o")
