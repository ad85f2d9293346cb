"""Flags that several commands have, each written once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from wordbrush.errors import ModelError
from wordbrush.notation import GIVEN, parse_embeddings, parse_loras
from wordbrush.settings import DEFAULT_PRESET, PRESETS

__all__ = [
    "DEFAULT_PRESET",
    "MASK_PANEL",
    "MODEL_PANEL",
    "OUTPUT_PANEL",
    "AllowDownload",
    "Backend",
    "CheckInversion",
    "Config",
    "Device",
    "Dtype",
    "Embedding",
    "Exclude",
    "Force",
    "Include",
    "Json",
    "Lora",
    "MaskFile",
    "ModelChoice",
    "Negative",
    "NoPrompt",
    "OffloadWay",
    "Parametrisation",
    "PictureFile",
    "Preset",
    "Quiet",
    "Reference",
    "Revision",
    "Seeds",
    "Sets",
    "StripMetadata",
    "TextEncoder",
    "TextEncoder2",
    "TextEncoder3",
    "Tokenizer",
    "Transformer",
    "Unet",
    "Vae",
]

MODEL_PANEL = "Model"
MASK_PANEL = "Mask"
OUTPUT_PANEL = "Output"

PictureFile = Annotated[str, typer.Argument(metavar="PICTURE", help="The picture to edit; - reads standard input.")]
Reference = Annotated[str, typer.Option("--from", help="What the picture shows now; may be left out.", metavar="TEXT")]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="pocket, pocket-flow (shipped), a folder in diffusers layout, a .safetensors file, or a Hugging Face id.",
        metavar="NAME",
        rich_help_panel=MODEL_PANEL,
    ),
]
Revision = Annotated[
    str | None, typer.Option("--revision", help="Commit or tag of a Hugging Face model.", rich_help_panel=MODEL_PANEL)
]
AllowDownload = Annotated[
    bool,
    typer.Option(
        "--allow-download",
        help="Let a Hugging Face id be downloaded; without it only the local cache is read.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda, mps, ... Default: the best there is.", rich_help_panel=MODEL_PANEL),
]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", help="float32, float16 or bfloat16. Default: by device.", rich_help_panel=MODEL_PANEL),
]
OffloadWay = Annotated[
    str | None,
    typer.Option(
        "--offload",
        help="Keep weights in main memory, and on the device one network (model), block (group) or layer (sequential).",
        metavar="WAY",
        rich_help_panel=MODEL_PANEL,
    ),
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        help="What computes the networks: torch, compile (torch.compile), or openvino on the CPU (extra openvino). "
        "Default: torch.",
        metavar="NAME",
        rich_help_panel=MODEL_PANEL,
    ),
]
Parametrisation = Annotated[
    str | None,
    typer.Option(
        "--parametrisation",
        help="What the network predicts, over what the checkpoint says: epsilon, v_prediction or sample.",
        metavar="KIND",
        rich_help_panel=MODEL_PANEL,
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="For a .safetensors file: a folder of its family with configurations, tokenizers and the parts it lacks.",
        metavar="FOLDER",
        rich_help_panel=MODEL_PANEL,
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help="For a .safetensors file of Stable Diffusion: a folder with the tokenizer's files.",
        metavar="FOLDER",
        rich_help_panel=MODEL_PANEL,
    ),
]
Vae = Annotated[
    str | None,
    typer.Option(
        "--vae",
        help="An autoencoder in place of the checkpoint's own: a folder or a .safetensors file.",
        metavar="PATH",
        rich_help_panel=MODEL_PANEL,
    ),
]
Unet = Annotated[
    str | None,
    typer.Option(
        "--unet", help="A UNet in the same way.", metavar="PATH", rich_help_panel=MODEL_PANEL
    ),
]
Transformer = Annotated[
    str | None,
    typer.Option(
        "--transformer", help="A transformer in the same way.", metavar="PATH", rich_help_panel=MODEL_PANEL
    ),
]
TextEncoder = Annotated[
    str | None,
    typer.Option(
        "--text-encoder", help="A text encoder in the same way.", metavar="PATH", rich_help_panel=MODEL_PANEL
    ),
]
TextEncoder2 = Annotated[
    str | None,
    typer.Option(
        "--text-encoder-2", help="A second text encoder in the same way.", metavar="PATH", rich_help_panel=MODEL_PANEL
    ),
]
TextEncoder3 = Annotated[
    str | None,
    typer.Option(
        "--text-encoder-3", help="A third text encoder in the same way.", metavar="PATH", rich_help_panel=MODEL_PANEL
    ),
]
Lora = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        help="LoRA weights, with a scale if not 1: style.safetensors:0.8. Repeatable.",
        metavar="FILE[:SCALE]",
        rich_help_panel=MODEL_PANEL,
    ),
]
Embedding = Annotated[
    list[str] | None,
    typer.Option(
        "--embedding",
        help="A learnt embedding, with its word if not the one in the file: style.safetensors:my-style. Repeatable.",
        metavar="FILE[:WORD]",
        rich_help_panel=MODEL_PANEL,
    ),
]
Negative = Annotated[str, typer.Option("--negative", help="What the result should not show.", metavar="TEXT")]
Seeds = Annotated[str, typer.Option("--seed", help="One seed or several: 1,2,5-8, random.", metavar="SEEDS")]
MaskFile = Annotated[
    str | None,
    typer.Option(
        "--mask",
        help="Use this mask instead of finding one; white = edit. FILE#N takes class N of a label map.",
        metavar="FILE",
        rich_help_panel=MASK_PANEL,
    ),
]
Include = Annotated[
    str | None,
    typer.Option("--include", help="A mask that is always edited, besides the one found.", rich_help_panel=MASK_PANEL),
]
Exclude = Annotated[
    str | None, typer.Option("--exclude", help="A mask that is never edited.", rich_help_panel=MASK_PANEL)
]
Preset = Annotated[
    str, typer.Option("--preset", help=f"A named set of switches: {', '.join(PRESETS)}.", metavar="NAME")
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="A switch, over the preset. Repeatable.", metavar="SETTING=VALUE")
]
CheckInversion = Annotated[
    bool,
    typer.Option("--check-inversion", help="Measure how well the inversion leads back; costs a further walk down."),
]
StripMetadata = Annotated[
    bool, typer.Option("--strip-metadata", help="Write no record of what was done.", rich_help_panel=OUTPUT_PANEL)
]
NoPrompt = Annotated[
    bool, typer.Option("--no-prompt", help="Leave the texts out of the record.", rich_help_panel=OUTPUT_PANEL)
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.", rich_help_panel=OUTPUT_PANEL)]
Json = Annotated[
    bool, typer.Option("--json", help="Print what was done as JSON on standard output.", rich_help_panel=OUTPUT_PANEL)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes, no bars.", rich_help_panel=OUTPUT_PANEL)]


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which model, and how it is loaded: a group of flags."""

    name: ModelName = "pocket"
    revision: Revision = None
    allow_download: AllowDownload = False
    device: Device = None
    dtype: Dtype = None
    offload: OffloadWay = None
    backend: Backend = None
    parametrisation: Parametrisation = None
    config: Config = None
    tokenizer: Tokenizer = None
    vae: Vae = None
    unet: Unet = None
    transformer: Transformer = None
    text_encoder: TextEncoder = None
    text_encoder_2: TextEncoder2 = None
    text_encoder_3: TextEncoder3 = None
    loras: tuple[tuple[str, float], ...] = ()
    """Files and scales; read from `--lora` where a command has it."""
    embeddings: tuple[tuple[str, str] | str, ...] = ()
    """Files, with words; read from `--embedding` where a command has it."""

    def with_add_ons(self, lora: Iterable[str] | None, embedding: Iterable[str] | None) -> ModelChoice:
        """Return the choice with what `--lora` and `--embedding` were given.

        Raises:
            SettingsError: an item of them cannot be read.
        """
        return replace(self, loras=parse_loras(lora or ()), embeddings=parse_embeddings(embedding or ()))

    @property
    def load(self) -> dict[str, Any]:
        """Keywords of `Editor.from_pretrained`; a Hugging Face id comes from the cache unless it may be downloaded."""
        how = ("revision", "device", "dtype", "offload", "backend", "loras", "embeddings")
        names = (*how, *GIVEN)
        return {"local_files_only": not self.allow_download, **{name: getattr(self, name) for name in names}}

    def check_there(self) -> None:
        """Refuse a name of which nothing is on this machine, without loading anything.

        Raises:
            ModelError: it is no file, no folder and in no cache, and must not be downloaded.
        """
        cached = any((cache / f"models--{self.name.replace('/', '--')}").is_dir() for cache in _caches())
        if "/" in self.name and not (Path(self.name).expanduser().exists() or cached or self.allow_download):
            raise ModelError(f"no folder {self.name} here, nor a cached model of that name")


def _caches() -> list[Path]:
    """Return where the Hugging Face cache may lie, by the variables that its client reads."""
    named = [os.environ[name] for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE") if os.environ.get(name)]
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return [Path(folder).expanduser() for folder in (*named, f"{home}/hub")]
