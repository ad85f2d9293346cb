"""The commands `models list`, `show` and `fetch`: their flags and their help."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import typer

from wordbrush.cli import options as opt
from wordbrush.cli.command import Command
from wordbrush.errors import SettingsError
from wordbrush.notation import GIVEN

__all__ = ["FetchCommand", "ListCommand", "ShowCommand"]

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", flags=re.ASCII)

SMALL = 256 << 20
"""Most bytes of weights that `models show` loads unasked."""


@dataclass(frozen=True, kw_only=True)
class ListCommand(Command):
    """List the models at hand: pocket, and what the Hugging Face cache holds. No network."""

    families: Annotated[
        bool, typer.Option("--families", help="List the families of models that can be used instead.")
    ] = False
    json: opt.Json = False


@dataclass(frozen=True, kw_only=True)
class ShowCommand(Command):
    """Show what a model is before it is loaded: family, guidance, sizes, memory, card and words. No network."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="pocket, a folder, a file, or a cached model.")]
    revision: opt.Revision = None
    parametrisation: opt.Parametrisation = None
    config: opt.Config = None
    tokenizer: opt.Tokenizer = None
    vae: opt.Vae = None
    unet: opt.Unet = None
    transformer: opt.Transformer = None
    text_encoder: opt.TextEncoder = None
    text_encoder_2: opt.TextEncoder2 = None
    text_encoder_3: opt.TextEncoder3 = None
    load: Annotated[
        bool | None,
        typer.Option(
            "--load/--no-load",
            help="Load it, too, which tells its identity and whether it is sound; by default where its weights have at "
            f"most {SMALL >> 20} MiB, or a flag says how to load it.",
            show_default=False,
        ),
    ] = None
    json: opt.Json = False

    def check(self) -> None:
        """Refuse flags that contradict each other.

        Raises:
            SettingsError: a flag that says how to load it is given with `--no-load`.
        """
        if self.load is False and self._how:
            flag = self._how[0].replace("_", "-")
            raise SettingsError(f"--{flag} says how to load the model, and --no-load not to: leave one out")

    def loads(self, size: int) -> bool:
        """Say whether a model with weights of `size` bytes is to be loaded."""
        return bool(self._how) or size <= SMALL if self.load is None else self.load

    @property
    def _how(self) -> list[str]:
        return [name for name in GIVEN if getattr(self, name) is not None]


@dataclass(frozen=True, kw_only=True)
class FetchCommand(Command):
    """Download a model into the Hugging Face cache: safetensors and settings only, never a pickle or code."""

    name: Annotated[str, typer.Argument(metavar="NAME", help="A Hugging Face id, such as owner/model.")]
    revision: opt.Revision = None
    half: Annotated[
        bool, typer.Option("--half", help="Take the half-precision files where there are both; for GPUs.")
    ] = False
    vocabulary: Annotated[
        bool,
        typer.Option("--vocabulary", help="Take the tokenizer alone, as a single .safetensors file needs it."),
    ] = False
    json: opt.Json = False
    quiet: opt.Quiet = False

    def check(self) -> None:
        """Refuse a name that is no id.

        Raises:
            SettingsError: it does not look like owner/model, or --half is given with --vocabulary.
        """
        if self.half and self.vocabulary:
            raise SettingsError("--half means nothing with --vocabulary, which takes no weights: leave one out")
        if not HUB_ID.fullmatch(self.name):
            raise SettingsError(f"{self.name!r} is not a Hugging Face id; it looks like owner/model")
