"""Flags shared by several commands, and the flags built from `Settings`."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal

import typer

from wordbrush.errors import SettingsError
from wordbrush.settings import DEFAULT_PRESET, MAX_SEED, PRESETS

__all__ = [
    "DEFAULT_PRESET",
    "AllowDownload",
    "CheckInversion",
    "Device",
    "DryRun",
    "Dtype",
    "Exclude",
    "Force",
    "Include",
    "Json",
    "Lora",
    "ModelName",
    "Negative",
    "NoPrompt",
    "PanelFile",
    "PictureFile",
    "Preset",
    "Quiet",
    "Reference",
    "Revision",
    "SaveContrast",
    "SaveMask",
    "Seeds",
    "StripMetadata",
    "UserMask",
    "bound",
    "parse_loras",
    "with_settings",
]

MODEL_PANEL = "Model"
MASK_PANEL = "Mask"
OUTPUT_PANEL = "Output"
ALGORITHM_PANEL = "Algorithm (each overrides the preset)"

PictureFile = Annotated[str, typer.Argument(metavar="PICTURE", help="The picture to edit; - reads standard input.")]
Reference = Annotated[str, typer.Option("--from", help="What the picture shows now; may be left out.", metavar="TEXT")]
Negative = Annotated[str, typer.Option("--negative", help="What the result should not show.", metavar="TEXT")]
Seeds = Annotated[str, typer.Option("--seed", help="One seed or several: 1,2,5-8.", metavar="SEEDS")]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        help="pocket (shipped), a folder in diffusers layout, a .safetensors file, or a Hugging Face id.",
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
Lora = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        help="LoRA weights, with a scale if not 1: style.safetensors:0.8. Repeatable.",
        metavar="FILE[:SCALE]",
        rich_help_panel=MODEL_PANEL,
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
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.", rich_help_panel=OUTPUT_PANEL)]
Json = Annotated[
    bool, typer.Option("--json", help="Print what was done as JSON on standard output.", rich_help_panel=OUTPUT_PANEL)
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes, no bars.", rich_help_panel=OUTPUT_PANEL)]


UserMask = Annotated[
    str | None,
    typer.Option("--mask", help="Use this mask instead of finding one; white = edit.", rich_help_panel=MASK_PANEL),
]
SaveMask = Annotated[
    str | None, typer.Option("--save-mask", help="Write the mask, a PNG.", rich_help_panel=OUTPUT_PANEL)
]
SaveContrast = Annotated[
    str | None,
    typer.Option(
        "--save-contrast", help="Write the soft map: a grey PNG, or the cells as .npy.", rich_help_panel=OUTPUT_PANEL
    ),
]
PanelFile = Annotated[
    str | None,
    typer.Option(
        "--panel", help="Write input | contrast | mask | result as one picture.", rich_help_panel=OUTPUT_PANEL
    ),
]
CheckInversion = Annotated[
    bool, typer.Option("--check-inversion", help="Measure how well the inversion leads back; costs as many steps.")
]
StripMetadata = Annotated[
    bool,
    typer.Option("--strip-metadata", help="Write no record of what was done.", rich_help_panel=OUTPUT_PANEL),
]
NoPrompt = Annotated[
    bool, typer.Option("--no-prompt", help="Leave the texts out of the record.", rich_help_panel=OUTPUT_PANEL)
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print stages, network evaluations, memory and sizes; run nothing."),
]


def parse_loras(items: list[str] | None) -> tuple[tuple[str, float], ...]:
    """Read `FILE[:SCALE]` items.

    Raises:
        SettingsError: the scale is not a finite number, or the file name is empty.
    """
    loras = []
    for item in items or ():
        path, colon, tail = item.rpartition(":")
        scale = _number(tail) if colon else None
        name, strength = (item, 1.0) if scale is None else (path, scale)
        if not name or not -100.0 <= strength <= 100.0:
            raise SettingsError(f"--lora {item}: write a file and perhaps a scale, like style.safetensors:0.8")
        loras.append((name, strength))
    return tuple(loras)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def with_settings(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flag for each field of `Settings`; those that were used arrive as `switches`, a dict.

    Names, help texts, ranges and defaults come from the fields, so the command line cannot fall behind them.
    """
    from wordbrush.settings import Settings

    hints = typing.get_type_hints(Settings)
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    own = inspect.signature(function, eval_str=True)
    parameters = [p for p in own.parameters.values() if p.name != "switches"]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_flag(field, hints[name]))
        for name, field in fields.items()
    ]

    @wraps(function)
    def command(**values: Any) -> None:
        given = {name: values.pop(name) for name in fields}
        function(**values, switches={name: value for name, value in given.items() if value is not None})

    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    del command.__wrapped__  # else typer would read the original's hints
    return command


def _flag(field: dataclasses.Field[Any], hint: Any) -> Any:
    kind = _plain(hint)
    low, high = field.metadata["range"]
    facts = [", ".join(typing.get_args(kind))] if typing.get_origin(kind) is Literal else []
    facts += [f"{bound(low)} to {bound(high)}"] if low is not None else []
    facts += [f"default {_shown(field.default)}"] if field.default is not None else []
    text = field.metadata["help"]
    name = "--" + field.name.replace("_", "-")
    option = typer.Option(
        f"{name}/--no-{name[2:]}" if kind is bool else name,
        help=text[0].upper() + text[1:] + (f" ({'; '.join(facts)})." if facts else "."),
        show_default=False,
        metavar=None if kind is bool else {int: "N", float: "X"}.get(kind, "NAME"),
        rich_help_panel=ALGORITHM_PANEL,
    )
    return Annotated[kind | None, option]


def bound(value: float) -> str:
    """Write the end of a range for people."""
    return "2^63 - 1" if value == MAX_SEED else f"{value:g}"


def _plain(hint: Any) -> Any:
    """Strip `| None` from a type."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        return inner[0]
    return hint


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
