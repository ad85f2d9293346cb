"""Flags: switches without a control of their own, read and written as on the command line."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from typing import Any

from wordbrush.errors import SettingsError
from wordbrush.notation import Switch, switches
from wordbrush.settings import Settings

__all__ = ["CONTROLLED", "SWITCHES", "flags_of", "parse_flags"]

SWITCHES = (
    "rule", "threshold", "grow", "feather", "fill_holes", "drop_specks", "edges", "invert", "ratio", "guidance",
    "steps", "eta", "encoding",
)  # fmt: skip
"""The switches that the controls of the page set."""

CONTROLLED = (*SWITCHES, "contrast_seed")
"""The switches that have a control of their own."""


def parse_flags(text: str, refused: Collection[str] = CONTROLLED, *, several: bool = False) -> dict[str, Any]:
    """Read switches as they stand on the command line: `--maps 4 --solver dpm2m --antithetic`.

    Args:
        text: the words.
        refused: switches that may not be written here.
        several: a switch may have several values, as those of `wordbrush batch`; each is then a tuple of values.

    Raises:
        SettingsError: an unknown flag, one that has a control of its own, or a value that cannot be read.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"further switches: {error}") from error
    values: dict[str, Any] = {}
    while words:
        flag, equals, value = words.pop(0).partition("=")
        switch = _switch_of(flag, refused)
        if switch.kind is bool:
            on = not flag.startswith(("--no-", "--no_"))
            values[switch.name] = (on,) if several else on
            continue
        if not equals and not words:
            raise SettingsError(f"further switches: {flag} needs a value")
        value = value if equals else words.pop(0)
        if several:
            values[switch.name] = switch.read_several(value)
            continue
        try:
            values[switch.name] = switch.read(value) if switch.kind is tuple else switch.kind(value)
        except ValueError as error:
            raise SettingsError(f"further switches: {flag} {value[:40]!r} is not a number") from error
    return values


def _switch_of(flag: str, refused: Collection[str]) -> Switch:
    """Return the switch that a flag sets."""
    dashed = flag.replace("_", "-")
    for switch in switches().values():
        if dashed == switch.flag or (switch.kind is bool and dashed == f"--no-{switch.flag[2:]}"):
            if switch.name in refused:
                raise SettingsError(f"further switches: {flag} has a control of its own on this page")
            return switch
    raise SettingsError(f"further switches: {flag[:40]!r} is not one; `wordbrush edit --help` lists them")


def flags_of(preset: str, settings: Settings) -> str:
    """Return the switches that differ from a preset as `parse_flags` reads them, but for the controlled ones."""
    plain, words = Settings.from_preset(preset), list[str]()
    for name, switch in switches().items():
        value = getattr(settings, name)
        if name not in CONTROLLED and value != getattr(plain, name):
            words += switch.words(value)
    return shlex.join(words)
