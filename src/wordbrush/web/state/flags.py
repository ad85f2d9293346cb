"""Flags: switches without a control of their own, read and written as on the command line."""

from __future__ import annotations

import dataclasses
import shlex
import types
import typing
from collections.abc import Collection
from typing import Any, Literal

from wordbrush.errors import SettingsError
from wordbrush.settings import Settings

__all__ = ["CONTROLLED", "SWITCHES", "flags_of", "parse_flags"]

SWITCHES = (
    "rule", "threshold", "grow", "feather", "fill_holes", "drop_specks", "edges", "invert", "ratio", "guidance",
    "steps", "eta",
)  # fmt: skip
"""The switches that the controls of the page set."""

CONTROLLED = (*SWITCHES, "contrast_seed")
"""The switches that have a control of their own."""


def parse_flags(text: str, refused: Collection[str] = CONTROLLED) -> dict[str, Any]:
    """Read switches as they stand on the command line: `--maps 4 --solver dpm2m --antithetic`.

    Args:
        text: the words.
        refused: switches that may not be written here.

    Raises:
        SettingsError: an unknown flag, one that has a control of its own, or a value that cannot be read.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"further switches: {error}") from error
    switches: dict[str, Any] = {}
    while words:
        flag, equals, value = words.pop(0).partition("=")
        name, kind = _switch_of(flag, refused)
        if kind is bool:
            switches[name] = not flag.startswith("--no-")
            continue
        if not equals and not words:
            raise SettingsError(f"further switches: {flag} needs a value")
        value = value if equals else words.pop(0)
        try:
            switches[name] = kind(value)
        except ValueError as error:
            raise SettingsError(f"further switches: {flag} {value[:40]!r} is not a number") from error
    return switches


def _switch_of(flag: str, refused: Collection[str]) -> tuple[str, Any]:
    """Return the switch that a flag sets, and the type of its value."""
    kinds = {name: _kind(hint) for name, hint in typing.get_type_hints(Settings).items()}
    name = flag.removeprefix("--").replace("-", "_")
    if kinds.get(name.removeprefix("no_")) is bool:
        name = name.removeprefix("no_")
    if not flag.startswith("--") or name not in kinds:
        raise SettingsError(f"further switches: {flag[:40]!r} is not one; `wordbrush edit --help` lists them")
    if name in refused:
        raise SettingsError(f"further switches: {flag} has a control of its own on this page")
    return name, kinds[name]


def _kind(hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    return str if typing.get_origin(hint) is Literal else hint


def flags_of(preset: str, settings: Settings) -> str:
    """Return the switches that differ from a preset as `parse_flags` reads them, but for the controlled ones."""
    plain, words = Settings.from_preset(preset), []
    for item in dataclasses.fields(Settings):
        value, flag = getattr(settings, item.name), item.name.replace("_", "-")
        if item.name in CONTROLLED or value == getattr(plain, item.name):
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)
